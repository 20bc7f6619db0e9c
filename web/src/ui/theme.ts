import { createTheme, localStorageColorSchemeManager } from "@mantine/core";

// The values themselves are in tokens.css: a style element made here would not pass the content security policy.
export const theme = createTheme({ primaryColor: "blue", defaultRadius: "sm", respectReducedMotion: true });

export const colorScheme = localStorageColorSchemeManager({ key: "signoff-color-scheme" });
