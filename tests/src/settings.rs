//! What holds for any text as a configuration. The body of a fuzz target.

use martlet_config::{Settings, SettingsErrorKind};

/// Any text is a configuration, or rejected in a sentence that points into the text. What is a
/// configuration can be printed, and reads as the same again, but for the secrets, which are
/// missed.
pub fn config(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    let settings = match Settings::from_yaml(text) {
        Ok(settings) => settings,
        Err(error) => {
            let message = error.to_string();
            // As long as a few keys are.
            assert!(
                !message.is_empty() && message.len() < 64 * 1024,
                "{message}"
            );
            if let Some(at) = error.position() {
                let lines = text
                    .split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
                    .count();
                assert!(
                    (1..=lines + 1).contains(&at.line) && at.column >= 1,
                    "{message}"
                );
            }
            return;
        }
    };
    assert!(!format!("{settings:?}").is_empty());
    let printed = settings.to_yaml();
    match Settings::from_yaml(&printed) {
        Ok(again) => assert_eq!(again, settings, "{printed}"),
        Err(error) => assert_eq!(
            error.kind(),
            &SettingsErrorKind::Hidden,
            "{error}\n{printed}"
        ),
    }
}
