import { defineWords } from "../app/words";

export const words = defineWords({ settings: "Settings" }, { settings: "设置" });
