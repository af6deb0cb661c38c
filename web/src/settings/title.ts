import { defineWords } from "../app/words";

export const title = defineWords({ settings: "Settings" }, { settings: "设置" });
