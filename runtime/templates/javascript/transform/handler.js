// Adds the total to an order.

import { get } from "pelton:events/config@0.1.0";
import { write } from "pelton:events/log@0.1.0";

const [decoder, encoder] = [new TextDecoder(), new TextEncoder()];

export const handler = {
  handle(event) {
    // All fields are kept, also those that this handler does not know.
    const order = read(event.payload);
    if (order.price === undefined) throw { tag: "retry", val: "the order has no price yet" };
    const total = order.quantity * order.price;
    if (!Number.isFinite(total)) throw { tag: "reject", val: "not an order: no quantity" };
    write("info", `priced ${event.id}`);
    const priced = { ...order, total, currency: get("currency") ?? "EUR" };
    const payload = encoder.encode(JSON.stringify(priced));
    return [{ subject: "orders.priced", headers: event.headers, payload }];
  },
};

function read(payload) {
  try {
    return Object(JSON.parse(decoder.decode(payload)));
  } catch (error) {
    throw { tag: "reject", val: `not an order: ${error.message}` };
  }
}
