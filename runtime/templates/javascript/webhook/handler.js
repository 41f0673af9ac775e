// Posts each event to an HTTP endpoint.

import { get } from "pelton:events/config@0.1.0";

const decoder = new TextDecoder("utf-8", { fatal: true });
const lenient = new TextDecoder();
const encoder = new TextEncoder();

export const handler = {
  async handle(event) {
    const body = json(event.payload);
    const response = await post(endpoint(), event.subject, body);
    const { status } = response;
    if (response.ok) {
      const receipt = { event: event.id, subject: event.subject, status };
      const payload = encoder.encode(JSON.stringify(receipt));
      return [{ subject: "deliveries.done", headers: event.headers, payload }];
    }
    throw failure(status, response.headers.get("retry-after"), await beginning(response));
  },
};

// The endpoint is told that it is JSON.
function json(payload) {
  try {
    const text = decoder.decode(payload);
    JSON.parse(text);
    return text;
  } catch (error) {
    throw { tag: "reject", val: `not JSON: ${error}` };
  }
}

function endpoint() {
  const text = get("url") ?? "";
  try {
    const url = new URL(text);
    const isHttp = url.protocol === "http:" || url.protocol === "https:";
    if (isHttp && url.username === "" && url.password === "") return url;
  } catch {
    // It is none at all.
  }
  const wanted = "a URL such as https://example.com/orders: http or https, a host, no user";
  throw { tag: "reject", val: `\`config.url\` is "${text}"; it has to be ${wanted}` };
}

// The host adds `Idempotency-Key`, made of the event's id: the same each time.
async function post(url, subject, body) {
  const headers = { "content-type": "application/json", "event-subject": subject };
  try {
    return await fetch(url, { method: "POST", headers, body });
  } catch (error) {
    throw { tag: "retry", val: `no answer from ${url}: ${error}` };
  }
}

// What is no UTF-8, or breaks off, is no reason for another answer.
async function beginning(response) {
  try {
    return lenient.decode(await response.arrayBuffer()).slice(0, 200);
  } catch {
    return "";
  }
}

function failure(status, after, answer) {
  const isLater = status === 408 || status === 425 || status === 429 || status >= 500;
  if (!isLater) return { tag: "reject", val: `refused with ${status}: ${answer}` };
  const reason = `put off with ${status}: ${answer}`;
  if (after === null || !/^\d{1,9}$/.test(after)) return { tag: "retry", val: reason };
  return { tag: "retry-after", val: [BigInt(after) * 1000n, reason] };
}
