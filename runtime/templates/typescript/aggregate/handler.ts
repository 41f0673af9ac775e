// Makes one summary for each sensor of a batch of readings.
//
// A handler keeps nothing from one event to the next: what belongs together has
// to come together, as the readings of one batch do.

import type { Event, Failure, Output } from "pelton:events/types@0.1.0";

interface Reading {
  sensor: string;
  value: number;
}

const [decoder, encoder] = [new TextDecoder(), new TextEncoder()];

export const handler = {
  handle(event: Event): Output[] {
    const sensors = new Map<string, number[]>();
    for (const { sensor, value } of readings(event)) {
      if (!Number.isFinite(value)) throw reject(`a reading of ${sensor} has no value`);
      sensors.set(sensor, [...(sensors.get(sensor) ?? []), value]);
    }
    return [...sensors].sort().map(([sensor, values]) => summary(event, sensor, values));
  },
} satisfies typeof import("pelton:events/handler@0.1.0");

function summary(event: Event, sensor: string, values: number[]): Output {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const figures = { sensor, count: values.length, min: Math.min(...values), max: Math.max(...values), mean };
  const payload = encoder.encode(JSON.stringify(figures));
  return { subject: "readings.summary", headers: event.headers, payload };
}

function readings(event: Event): Reading[] {
  try {
    const { readings } = JSON.parse(decoder.decode(event.payload));
    if (Array.isArray(readings)) return readings;
  } catch {}
  throw reject("not a batch of readings");
}

/** It can never succeed: to the dead letters. The tag `retry` would try it again. */
function reject(val: string): Failure {
  return { tag: "reject", val };
}
