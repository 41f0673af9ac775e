// Sends an order on to the warehouse for its country.

import type { Event, Failure, Output } from "pelton:events/types@0.1.0";

const decoder = new TextDecoder();

export const handler = {
  handle(event: Event): Output[] {
    const subject = warehouse(country(event.payload));
    // The event goes on as it came.
    return [{ subject, headers: event.headers, payload: event.payload }];
  },
} satisfies typeof import("pelton:events/handler@0.1.0");

function country(payload: Uint8Array): string {
  try {
    const { country } = JSON.parse(decoder.decode(payload));
    if (country) return country;
  } catch {}
  throw { tag: "reject", val: "not an order with a country" } satisfies Failure;
}

function warehouse(country: string): string {
  switch (country) {
    case "AT":
    case "DE":
    case "FR":
    case "IT":
      return "shipping.europe";
    case "CA":
    case "MX":
    case "US":
      return "shipping.america";
    default:
      return "shipping.world";
  }
}
