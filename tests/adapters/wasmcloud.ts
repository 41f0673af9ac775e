// A component for wasmCloud (`wasmcloud:messaging@0.2.0`).

import * as consumer from "wasmcloud:messaging/consumer@0.2.0";
import type { BrokerMessage } from "wasmcloud:messaging/types@0.2.0";
import { Failed, run } from "./script.js";

export const handler = {
  handleMessage(message: BrokerMessage): void {
    const publish = (subject: string, body: Uint8Array) => consumer.publish({ subject, body });
    const port = {
      publish,
      reply: (body: Uint8Array) => publish(message.replyTo ?? "", body),
      request: (subject: string, millis: number, body: Uint8Array) =>
        consumer.request(subject, body, millis).body,
    };
    try {
      run(message.body, port);
    } catch (error) {
      // The error of the contract is a text.
      throw error instanceof Failed ? error.reason : error;
    }
  },
} satisfies typeof import("wasmcloud:messaging/handler@0.2.0");
