/** Why a file cannot go with a message, as a sentence that says what to do. */
import type { FileProblem } from "../app/state";
import { defineWords, type Language } from "../app/words";
import { formatBytes } from "./units";

const sentences = defineWords<Record<FileProblem, string>>(
  {
    empty: "This file is empty.",
    unreadable: "This file could not be read. Folders cannot be added.",
    not_loaded: "The page could not fetch what reads this file. Add it again once the connection is back.",
    too_large: "This file is too large.",
    binary: "This is not a text file, so the model cannot read it.",
    encoding: "This file has an unknown encoding. Save it as UTF-8 and add it again.",
    office: "Office files cannot be read here. Save it as PDF or text and add it again.",
    archive: "Archives cannot be read. Unpack it and add the files.",
    no_images: "This model does not read images.",
    image_broken: "This browser cannot open this image. Save it as PNG or JPEG and add it again.",
    image_too_large: "There is no room for this image in the message.",
    pdf_broken: "This PDF is damaged and cannot be read.",
    pdf_password: "This PDF has a password. Save it without one and add it again.",
    pdf_no_text: "This PDF has no text, only pictures of its pages.",
  },
  {
    empty: "这个文件是空的。",
    unreadable: "无法读取这个文件。不能添加文件夹。",
    not_loaded: "页面未能加载读取此文件所需的组件，请在网络恢复后重新添加。",
    too_large: "这个文件太大了。",
    binary: "这不是文本文件，模型无法读取。",
    encoding: "无法识别这个文件的编码，请另存为 UTF-8 后重新添加。",
    office: "暂不支持 Office 文件，请另存为 PDF 或文本后重新添加。",
    archive: "暂不支持压缩包，请解压后添加其中的文件。",
    no_images: "当前模型不能识别图片。",
    image_broken: "浏览器打不开这张图片，请另存为 PNG 或 JPEG 后重新添加。",
    image_too_large: "这条消息里放不下这张图片了。",
    pdf_broken: "这个 PDF 已损坏，无法读取。",
    pdf_password: "这个 PDF 有密码，请去掉密码后重新添加。",
    pdf_no_text: "这个 PDF 没有文字，只有页面图片（扫描件）。",
  },
);
const atMost = defineWords(
  (size: string) => `A message holds at most ${size}.`,
  (size: string) => `一条消息最多 ${size}。`,
);

/** `limit` is the largest message, in bytes. */
export function describeProblem(problem: FileProblem, language: Language, limit?: number): string {
  const sentence = sentences[language][problem];
  if (problem !== "too_large" || limit === undefined) return sentence;
  const space = language === "en" ? " " : "";
  return sentence + space + atMost[language](formatBytes(limit, language));
}
