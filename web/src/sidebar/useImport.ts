/** Asks for exported conversations and brings them in. Says which file is none. */
import { usePage } from "../app/context";
import { useWords } from "../app/words";
import { readExports } from "./files";
import { words } from "./words";

export function useImport(): () => void {
  const text = useWords(words);
  const page = usePage();
  const bringIn = async (file: File) => {
    const documents = readExports(await file.text());
    if (!documents) {
      page.notices.show(text.notAnExport(file.name));
      return;
    }
    for (const exported of documents) {
      const { id } = await page.conversations.import(exported);
      // Of many, none is the one that the person wants to see.
      if (documents.length === 1) page.open(id);
    }
    page.notices.show(text.imported(documents.length));
  };
  return () => {
    const input = document.createElement("input");
    input.type = "file";
    input.accept = ".json,application/json";
    input.multiple = true;
    input.onchange = () => {
      for (const file of input.files ?? []) page.attempt(bringIn(file));
    };
    input.click();
  };
}
