/** The package has no types of its own: a table from Unicode to ASCII, by sound. */
declare module 'unidecode' {
  /** `text` in ASCII; what has no spelling there is left out. */
  export default function unidecode(text: string): string;
}
