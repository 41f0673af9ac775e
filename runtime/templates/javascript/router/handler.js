// Sends an order on to the warehouse for its country.

const decoder = new TextDecoder();

export const handler = {
  handle(event) {
    const subject = warehouse(country(event.payload));
    // The event goes on as it came.
    return [{ subject, headers: event.headers, payload: event.payload }];
  },
};

function country(payload) {
  try {
    const { country } = JSON.parse(decoder.decode(payload));
    if (country) return country;
  } catch {}
  throw { tag: "reject", val: "not an order with a country" };
}

function warehouse(country) {
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
