// Gives a report a risk from 0 to 100, with the reasons: the worst of what it
// shows, and a little for each further thing.

import { get } from "pelton:events/config@0.1.0";
import type { Event, Failure, Output } from "pelton:events/types@0.1.0";

/** A report as `enrich` leaves it; what nobody needs here is passed on as it is. */
interface Report {
  tracker: string;
  speed: number;
  "fuel-change": number;
  acceleration: number;
  ignition: boolean;
  panic: boolean;
  "km-to-depot": number;
  vehicle: { "speed-limit": number };
}

interface Rule {
  reason: string;
  /** From 0, nothing, to 100. */
  risk(report: Report): number;
}

const FURTHER = 5;

const rules: Rule[] = [
  { reason: "panic", risk: (report) => (report.panic ? 100 : 0) },
  {
    // It is pulled, or carried.
    reason: "towing",
    risk: (report) => (!report.ignition && report.speed > number("towing-speed") ? 90 : 0),
  },
  {
    // Far from a depot nobody empties a tank on purpose.
    reason: "fuel",
    risk: (report) =>
      !report.ignition && report["fuel-change"] <= -number("fuel-drop") && report["km-to-depot"] > 1
        ? 85
        : 0,
  },
  { reason: "harsh", risk: (report) => scale(Math.abs(report.acceleration), 0.4, 0.8, 70) },
  {
    reason: "speeding",
    risk: ({ speed, vehicle }) => scale(speed / vehicle["speed-limit"], 1.1, 1.5, 80),
  },
];

const [decoder, encoder] = [new TextDecoder(), new TextEncoder()];

export const handler = {
  handle(event: Event): Output[] {
    const report = read(event.payload);
    const found = rules
      .map((rule) => ({ reason: rule.reason, risk: rule.risk(report) }))
      .filter(({ risk }) => risk > 0)
      .sort((a, b) => b.risk - a.risk);
    const [worst] = found;
    const risk = worst ? Math.min(100, worst.risk + FURTHER * (found.length - 1)) : 0;
    const scored = { ...report, risk, reasons: found.map(({ reason }) => reason) };
    const payload = encoder.encode(JSON.stringify(scored));
    return [{ subject: `fleet.scored.${report.tracker}`, headers: event.headers, payload }];
  },
} satisfies typeof import("pelton:events/handler@0.1.0");

function read(payload: Uint8Array): Report {
  try {
    const report: Partial<Report> = JSON.parse(decoder.decode(payload));
    if (report.tracker && report.vehicle) return report as Report;
  } catch {}
  throw reject("not a report with its vehicle");
}

/** 0 up to `from`, then evenly up to `most` at `to`, and no more than that. */
function scale(value: number, from: number, to: number, most: number): number {
  return Math.round(most * Math.min(1, Math.max(0, (value - from) / (to - from))));
}

function number(key: string): number {
  const value = Number(get(key));
  if (Number.isFinite(value)) return value;
  throw { tag: "retry", val: `the config has no number ${key}` } satisfies Failure;
}

function reject(val: string): Failure {
  return { tag: "reject", val };
}
