/**
 * The files of a paste. Office programs put a picture of the copied text beside the text itself: there the text counts.
 */
export function pastedFiles(data: DataTransfer): File[] {
  const isText = data.types.includes("text/plain") && data.types.includes("text/html");
  return isText ? [] : [...data.files];
}
