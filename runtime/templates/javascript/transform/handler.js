// Adds the total to an order.

import { get } from "pelton:events/config@0.1.0";
import { write } from "pelton:events/log@0.1.0";

const [decoder, encoder] = [new TextDecoder(), new TextEncoder()];

export const handler = {
  handle(event) {
    const order = read(event);
    const total = order.items.reduce((sum, { quantity, price }) => sum + quantity * price, 0);
    // It can never succeed: to the dead letters. The tag `retry` would try it again.
    if (!Number.isFinite(total)) throw { tag: "reject", val: "an item has no price or quantity" };
    write("info", `order ${order.id}: ${total}`);
    const priced = { ...order, total, currency: get("currency") ?? "EUR" };
    const payload = encoder.encode(JSON.stringify(priced));
    return [{ subject: "orders.priced", headers: event.headers, payload }];
  },
};

function read(event) {
  try {
    const order = JSON.parse(decoder.decode(event.payload));
    if (Array.isArray(order?.items)) return order;
  } catch {}
  throw { tag: "reject", val: "not an order" };
}
