import { defineWords } from "../app/words";

export const words = defineWords(
  {
    copyCode: "Copy code",
    wrapLines: "Wrap long lines",
    unwrapLines: "Do not wrap long lines",
    copyFormula: "Copy as LaTeX",
    formulaCopied: "LaTeX copied",
    imageFrom: (host: string) => `Image from ${host}`,
    openImage: (host: string) =>
      `Opens the image from ${host} in a new tab. The page itself loads no images.`,
    image: "Image",
    table: "Table",
    done: "Done",
    toDo: "To do",
    footnote: (label: string) => `Footnote ${label}`,
    backToText: "Back to the text",
  },
  {
    copyCode: "复制代码",
    wrapLines: "长行自动换行",
    unwrapLines: "长行不换行",
    copyFormula: "复制为 LaTeX",
    formulaCopied: "已复制 LaTeX",
    imageFrom: (host) => `来自 ${host} 的图片`,
    openImage: (host) => `在新标签页中打开 ${host} 的图片。本页面不会自动加载图片。`,
    image: "图片",
    table: "表格",
    done: "已完成",
    toDo: "未完成",
    footnote: (label) => `脚注 ${label}`,
    backToText: "返回正文",
  },
);
