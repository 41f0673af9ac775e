// Makes one summary for each sensor of a batch of readings.
//
// A handler keeps nothing from one event to the next: what belongs together has
// to come together, as the readings of one batch do.

const [decoder, encoder] = [new TextDecoder(), new TextEncoder()];

export const handler = {
  handle(event) {
    const sensors = new Map();
    for (const { sensor, value } of readings(event)) {
      if (!Number.isFinite(value)) throw { tag: "reject", val: `a reading of ${sensor} has no value` };
      sensors.set(sensor, [...(sensors.get(sensor) ?? []), value]);
    }
    return [...sensors].sort().map(([sensor, values]) => summary(event, sensor, values));
  },
};

function summary(event, sensor, values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const figures = { sensor, count: values.length, min: Math.min(...values), max: Math.max(...values), mean };
  const payload = encoder.encode(JSON.stringify(figures));
  return { subject: "readings.summary", headers: event.headers, payload };
}

function readings(event) {
  try {
    const { readings } = JSON.parse(decoder.decode(event.payload));
    if (Array.isArray(readings)) return readings;
  } catch {}
  // It can never succeed: to the dead letters. The tag `retry` would try it again.
  throw { tag: "reject", val: "not a batch of readings" };
}
