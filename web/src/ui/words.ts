import { defineWords } from "../app/words";

export const words = defineWords(
  { close: "Close", copied: "Copied", copyFailed: "Could not copy" },
  { close: "关闭", copied: "已复制", copyFailed: "复制失败" },
);
