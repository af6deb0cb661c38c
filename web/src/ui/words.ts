import { defineWords } from "../app/words";

export const words = defineWords({ close: "Close" }, { close: "关闭" });
