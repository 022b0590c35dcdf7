// The numeric core: the server's answer, computed on the phone. Everything but `decode.ts`, which
// needs a browser, is reached from here.

export { Bundle, Tier, openBundle, type ReportOptions } from "./bundle";
export { checkDevice, type DecodePhoto } from "./device_check";
export { grayLevelsApart } from "./golden";
export { DEFAULT_LANGUAGE, LANGUAGES, TextsOf, languages, tagOf } from "./language";
export { PhotoBuilder, photoOf } from "./photo";
export { shownName } from "./shown_name";
export * from "./types";
export type * from "./wire";
