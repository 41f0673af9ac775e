// Adds the total to an order.

import { get } from "pelton:events/config@0.1.0";
import { write } from "pelton:events/log@0.1.0";
import type { Event, Failure, Output } from "pelton:events/types@0.1.0";

/** What comes may be anything: the handler looks before it computes. */
interface Order {
  quantity?: unknown;
  /** Not there before the price list has come. */
  price?: unknown;
}

const [decoder, encoder] = [new TextDecoder(), new TextEncoder()];

export const handler = {
  handle(event: Event): Output[] {
    // All fields are kept, also those that this handler does not know.
    const order = read(event.payload);
    const { quantity, price } = order;
    if (typeof quantity !== "number") throw reject("not an order: no quantity");
    if (price === undefined || price === null) {
      throw { tag: "retry", val: "the order has no price yet" } satisfies Failure;
    }
    const total = typeof price === "number" ? quantity * price : NaN;
    if (!Number.isFinite(total)) throw reject("not an order: no total");
    write("info", `priced ${event.id}`);
    const priced = { ...order, total, currency: get("currency") ?? "EUR" };
    const payload = encoder.encode(JSON.stringify(priced));
    return [{ subject: "orders.priced", headers: event.headers, payload }];
  },
} satisfies typeof import("pelton:events/handler@0.1.0");

function read(payload: Uint8Array): Order {
  try {
    return Object(JSON.parse(decoder.decode(payload)));
  } catch (error) {
    throw reject(`not an order: ${error}`);
  }
}

function reject(val: string): Failure {
  return { tag: "reject", val };
}
