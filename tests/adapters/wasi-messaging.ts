// A component of `wasi:messaging@0.2.0-draft`.

import { send } from "wasi:messaging/producer@0.2.0-draft";
import { RequestOptions, reply, request } from "wasi:messaging/request-reply@0.2.0-draft";
import { Client, Message } from "wasi:messaging/types@0.2.0-draft";
import { Failed, run } from "./script.js";

export const incomingHandler = {
  handle(message: Message): void {
    const client = Client.connect("");
    const port = {
      publish: (topic: string, body: Uint8Array) => send(client, topic, new Message(body)),
      reply: (body: Uint8Array) => reply(message, new Message(body)),
      request(topic: string, millis: number, body: Uint8Array): Uint8Array {
        const options = new RequestOptions();
        options.setTimeoutMs(millis);
        return request(client, topic, new Message(body), options)[0].data();
      },
    };
    try {
      run(message.data(), port);
    } catch (error) {
      throw error instanceof Failed ? { tag: "other", val: error.reason } : error;
    }
  },
} satisfies typeof import("wasi:messaging/incoming-handler@0.2.0-draft");
