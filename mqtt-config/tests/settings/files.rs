//! Files that cannot be read, or are of another encoding.

use martlet_config::{Position, Settings, SettingsErrorKind as Kind};
use std::path::{Path, PathBuf};

#[test]
fn files_that_cannot_be_read() {
    let folder = std::env::temp_dir().join(format!("martlet-settings-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, content: &[u8]| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let kind = |path: &Path| {
        let error = Settings::load(path).unwrap_err();
        assert_eq!(error.file(), Some(path));
        assert!(
            error
                .to_string()
                .starts_with(&format!("{}:", path.display())),
            "{error}"
        );
        error.kind().clone()
    };
    let unreadable =
        |kind: &Kind, wanted| matches!(kind, Kind::Unreadable { kind, .. } if *kind == wanted);
    assert!(unreadable(
        &kind(&folder.join("missing.yaml")),
        std::io::ErrorKind::NotFound
    ));
    assert!(unreadable(&kind(&folder), std::io::ErrorKind::IsADirectory));
    assert_eq!(kind(&file("empty.yaml", b"")), Kind::Empty);
    assert_eq!(kind(&file("latin.yaml", b"# caf\xe9")), Kind::NotText);
    assert!(matches!(
        kind(&file("broken.yaml", b"a: [")),
        Kind::Syntax(_)
    ));
    let limit = 1024 * 1024;
    assert_eq!(
        kind(&file("huge.yaml", &vec![b' '; limit + 1])),
        Kind::TooLarge { limit }
    );
    #[cfg(target_os = "linux")]
    assert_eq!(kind(Path::new("/dev/zero")), Kind::TooLarge { limit });

    let wrong = file("wrong.yaml", b"keep_alive: 5\nwil: 1\n");
    assert_eq!(
        Settings::load(&wrong).unwrap_err().to_string(),
        format!(
            "{}:2:1: there is no such key; did you mean \"will\"?",
            wrong.display()
        )
    );
    let good = file("good.yaml", b"keep_alive: 5\r\n");
    assert_eq!(Settings::load(&good).unwrap().keep_alive, 5);

    // Notepad's files were rejected with words that named neither the file's encoding nor a way
    // out.
    let marked = file("marked.yaml", b"\xef\xbb\xbfkeep_alive: 5\r\n");
    assert_eq!(Settings::load(&marked).unwrap().keep_alive, 5);
    let wrong = file("marked-wrong.yaml", b"\xef\xbb\xbfkeep: 5");
    assert_eq!(
        Settings::load(&wrong).unwrap_err().position(),
        Some(Position { line: 1, column: 1 })
    );
    for (name, order) in [
        ("le.yaml", u16::to_le_bytes as fn(u16) -> [u8; 2]),
        ("be.yaml", u16::to_be_bytes),
    ] {
        let utf16: Vec<u8> = "\u{feff}keep_alive: 5\r\n"
            .encode_utf16()
            .flat_map(order)
            .collect();
        assert_eq!(kind(&file(name, &utf16)), Kind::Utf16);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
