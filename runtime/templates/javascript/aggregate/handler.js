// Makes a summary of a batch of readings.

const [decoder, encoder] = [new TextDecoder(), new TextEncoder()];

export const handler = {
  handle(event) {
    const values = read(event.payload);
    if (values.length === 0) return [];
    const summary = {
      count: values.length,
      min: Math.min(...values),
      max: Math.max(...values),
      mean: values.reduce((sum, value) => sum + value) / values.length,
    };
    // Infinity is no JSON: it would become `null`.
    if (!Number.isFinite(summary.mean)) throw { tag: "reject", val: "the values are too large" };
    const subject = event.subject.replace(".batch.", ".summary.");
    return [{ subject, headers: event.headers, payload: encoder.encode(JSON.stringify(summary)) }];
  },
};

function read(payload) {
  try {
    const { values } = JSON.parse(decoder.decode(payload));
    if (Array.isArray(values) && values.every(Number.isFinite)) return values;
  } catch {}
  throw { tag: "reject", val: "not a batch" };
}
