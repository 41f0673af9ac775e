// Adds the total to an order.

import { get } from "pelton:events/config@0.1.0";
import { write } from "pelton:events/log@0.1.0";

const [decoder, encoder] = [new TextDecoder(), new TextEncoder()];

export const handler = {
  handle(event) {
    // All fields are kept, also those that this handler does not know.
    const order = read(event.payload);
    const { quantity, price } = order;
    if (typeof quantity !== "number") throw reject("not an order: no quantity");
    if (price === undefined || price === null) throw { tag: "retry", val: "the order has no price yet" };
    const total = typeof price === "number" ? quantity * price : NaN;
    if (!Number.isFinite(total)) throw reject("not an order: no total");
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
    throw reject(`not an order: ${error.message}`);
  }
}

function reject(val) {
  return { tag: "reject", val };
}
