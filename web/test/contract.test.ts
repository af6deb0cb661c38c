/**
 * The contract of version 2 of the chat protocol, as its readers check it: the schemas accept the golden frames,
 * and the AsyncAPI document is one and refers only to definitions that exist.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import asyncapi from "@asyncapi/specs/schemas/3.0.0.json";
import Ajv from "ajv";
import Ajv2020, { type ValidateFunction } from "ajv/dist/2020";
import { describe, expect, test } from "vitest";
import { clientFrames, serverFrames } from "./goldenFrames";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function read(file: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(import.meta.dirname, "../../docs/protocol", file), "utf8"));
}

/** Strict: what ajv does not know in a schema is an error. */
function schema(file: string): ValidateFunction {
  const ajv = new Ajv2020({ strict: true, allowUnionTypes: true, formats: { uuid: UUID } });
  return ajv.compile(read(file));
}

describe.each([
  ["client", clientFrames],
  ["server", serverFrames],
] as const)("frames of the %s", (side, frames) => {
  const accepts = schema(`${side}-frames.schema.json`);

  test.each(frames.map((frame) => [frame.type, frame] as const))(
    "a golden %s is accepted",
    (_type, frame) => {
      accepts(frame);
      expect(accepts.errors).toBeNull();
    },
  );

  test("a frame without its type is refused", () => {
    for (const { type: _, ...rest } of frames) expect(accepts(rest)).toBe(false);
  });
});

describe("asyncapi.json", () => {
  const document = read("asyncapi.json");

  test("it is an AsyncAPI document of version 3", () => {
    // The file brings draft 7 along, so ajv must not know it already.
    const ajv = new Ajv({ meta: false, validateSchema: false, strict: false, validateFormats: false });
    const accepts = ajv.compile(asyncapi);
    accepts(document);
    expect(accepts.errors).toBeNull();
  });

  test("everything that it refers to exists", () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"#]*)#([^"]+)"/g)];
    expect(references.length).toBeGreaterThan(0);
    for (const [, file = "", pointer = ""] of references) {
      const steps = pointer.split("/").slice(1);
      const root: unknown = file === "" ? document : read(file);
      const found = steps.reduce<unknown>((node, step) => (node as Record<string, unknown>)?.[step], root);
      expect(found, `${file}#${pointer}`).toBeTypeOf("object");
    }
  });
});
