// Adds the total to an order.

import { get } from "pelton:events/config@0.1.0";
import { write } from "pelton:events/log@0.1.0";
import type { Event, Failure, Output } from "pelton:events/types@0.1.0";

interface Order {
  id: string;
  items: Array<{ quantity: number; price: number }>;
}

const [decoder, encoder] = [new TextDecoder(), new TextEncoder()];

export const handler = {
  handle(event: Event): Output[] {
    const order = read(event);
    const total = order.items.reduce((sum, { quantity, price }) => sum + quantity * price, 0);
    if (!Number.isFinite(total)) throw reject("an item has no price or quantity");
    write("info", `order ${order.id}: ${total}`);
    const priced = { ...order, total, currency: get("currency") ?? "EUR" };
    const payload = encoder.encode(JSON.stringify(priced));
    return [{ subject: "orders.priced", headers: event.headers, payload }];
  },
} satisfies typeof import("pelton:events/handler@0.1.0");

function read(event: Event): Order {
  try {
    const order: Order = JSON.parse(decoder.decode(event.payload));
    if (Array.isArray(order?.items)) return order;
  } catch {}
  throw reject("not an order");
}

/** It can never succeed: to the dead letters. The tag `retry` would try it again. */
function reject(val: string): Failure {
  return { tag: "reject", val };
}
