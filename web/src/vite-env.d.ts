/** The variables read when the page is built. */
interface ImportMetaEnv {
  /** Base of the gateway's API, such as `https://api.example.com/prefix`; unset means beside the page. */
  readonly VITE_API_URL?: string;
}
