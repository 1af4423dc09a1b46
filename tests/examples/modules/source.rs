//! A Rust source file as tokens, without comments, literals and what is only compiled for tests.

/// A token: an identifier, `::`, or one other character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// A function's name, first line and number of lines.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// Splits `text` into tokens.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let rest = &chars[at..];
        let len = if rest.starts_with(&['/', '/']) {
            rest.iter().position(|&c| c == '\n').unwrap_or(rest.len())
        } else if rest.starts_with(&['/', '*']) {
            block_comment(rest)
        } else if let Some(len) = literal(rest) {
            len
        } else if is_name(rest[0]) {
            let len = rest.iter().position(|&c| !is_name(c));
            len.unwrap_or(rest.len())
        } else if rest.starts_with(&[':', ':']) {
            2
        } else {
            1
        };
        let text = &rest[..len];
        let comment = text.starts_with(&['/', '/']) || text.starts_with(&['/', '*']);
        let is_literal = literal(rest).is_some();
        if !comment && !is_literal && !text[0].is_whitespace() {
            tokens.push(Token {
                text: text.iter().collect(),
                line,
            });
        }
        line += text.iter().filter(|&&c| c == '\n').count();
        at += len;
    }
    tokens
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The length of the string, byte string or character that `rest` begins with. A lifetime is none.
fn literal(rest: &[char]) -> Option<usize> {
    let prefix = rest.iter().take(2).take_while(|c| "brc".contains(**c));
    let prefix = prefix.count();
    let body = &rest[prefix..];
    let hashes = body.iter().take_while(|&&c| c == '#').count();
    match body.get(hashes) {
        Some('"') if hashes > 0 || rest[..prefix].contains(&'r') => {
            let mut end = vec!['"'];
            end.extend(vec!['#'; hashes]);
            let text = &body[hashes + 1..];
            let len = text.windows(end.len()).position(|part| part == end)?;
            Some(prefix + hashes + 1 + len + end.len())
        }
        Some('"') => Some(prefix + quoted(body, '"')),
        Some('\'') if hashes == 0 && prefix <= 1 => {
            let is_char = body.get(1) == Some(&'\\') || body.get(2) == Some(&'\'');
            is_char.then(|| prefix + quoted(body, '\''))
        }
        _ => None,
    }
}

fn quoted(body: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < body.len() && body[at] != quote {
        at += if body[at] == '\\' { 2 } else { 1 };
    }
    // A file may end inside.
    (at + 1).min(body.len())
}

/// Leaves out every item behind `#[cfg(test)]` or `#[cfg(all(test, …))]`.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if starts_with(&tokens[at..], &["#", "[", "cfg", "(", "test", ")"])
            || starts_with(&tokens[at..], &["#", "[", "cfg", "(", "all", "(", "test"])
        {
            at = end_of_item(tokens, at);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Whether `tokens` begin with these texts.
pub(crate) fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(a, b)| a.text == *b)
}

/// The index behind the item at `at`, which begins with its attributes.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    while starts_with(&tokens[at..], &["#", "["]) {
        at = closing(tokens, at + 1) + 1;
    }
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            ";" | "," => return at + 1,
            "{" => return closing(tokens, at) + 1,
            "(" | "[" => at = closing(tokens, at) + 1,
            _ => at += 1,
        }
    }
    at
}

/// The index of the bracket that closes the one at `open`.
pub(crate) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len().saturating_sub(1)
}

/// The functions that have a body.
pub(crate) fn functions(tokens: &[Token]) -> Vec<Function> {
    let mut functions = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let (keyword, name) = (&pair[0], &pair[1]);
        if keyword.text != "fn" || !name.text.starts_with(|c: char| is_name(c)) {
            continue;
        }
        let mut end = at;
        while end < tokens.len() && !matches!(tokens[end].text.as_str(), "{" | ";") {
            end = match tokens[end].text.as_str() {
                "(" | "[" => closing(tokens, end) + 1,
                _ => end + 1,
            };
        }
        if end < tokens.len() && tokens[end].text == "{" {
            let last = tokens[closing(tokens, end)].line;
            functions.push(Function {
                name: name.text.clone(),
                line: keyword.line,
                lines: last - keyword.line + 1,
            });
        }
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tool reads whatever it finds, also a file that is just being written.
    #[test]
    fn a_file_that_ends_anywhere_is_read() {
        let text = include_str!("source.rs");
        for end in (0..text.len())
            .filter(|&end| text.is_char_boundary(end))
            .step_by(7)
        {
            let tokens = tokens(&text[..end]);
            let _ = functions(&tokens);
            let _ = without_tests(&tokens);
        }
        let functions = functions(&tokens(text));
        assert!(functions.iter().any(|found| found.name == "quoted"));
    }
}
