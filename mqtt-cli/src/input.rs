//! Where payloads come from: the command line, files, and standard input.

use crate::exit::Failure;
use crate::signals::Signals;
use bytes::Bytes;
use clap::Args;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};

/// The longest payload that a packet of MQTT can have: the rest of one has 268,435,455 bytes.
const MAX_PAYLOAD: u64 = 268_435_455;

/// A batch of lines ends here.
const BATCH: usize = 64 * 1024;

/// Options of payloads that are whole.
#[derive(Args, Clone)]
#[group(skip)]
pub(crate) struct PayloadOptions {
    /// Payload
    #[arg(
        short,
        long,
        value_name = "TEXT",
        help_heading = "Payload",
        group = "payload"
    )]
    message: Option<OsString>,
    /// File with the payload; with pub it may be repeated, and each is a message
    #[arg(
        short,
        long,
        value_name = "FILE",
        help_heading = "Payload",
        group = "payload"
    )]
    file: Vec<PathBuf>,
    /// Read the payload from standard input, all of it
    #[arg(short, long, help_heading = "Payload", group = "payload")]
    stdin_file: bool,
    /// An empty payload
    #[arg(short, long, help_heading = "Payload", group = "payload")]
    null_message: bool,
}

impl PayloadOptions {
    /// Reads the payloads; none where no option names one. Standard input, and a file that is a
    /// pipe, may have nothing for ever: a signal ends that.
    pub(crate) async fn read(&self, signals: &mut Signals) -> Result<Vec<Bytes>, Failure> {
        let options = self.clone();
        let (sender, payloads) = oneshot::channel();
        // It is not waited for: the process ends before it does.
        std::thread::spawn(move || drop(sender.send(options.read_blocking())));
        tokio::select! {
            biased;
            status = signals.next() => Err(Failure::quiet(status)),
            payloads = payloads => payloads.expect("the thread sends what it has read"),
        }
    }

    fn read_blocking(&self) -> Result<Vec<Bytes>, Failure> {
        if let Some(text) = &self.message {
            return Ok(vec![text.clone().into_encoded_bytes().into()]);
        }
        if self.stdin_file {
            let payload = read_whole("--stdin-file", io::stdin().lock())?;
            // Often the program before it in the pipe has failed; with -r, the retained message would be cleared.
            if payload.is_empty() {
                return Err(Failure::usage(
                    "--stdin-file: standard input is empty: publish an empty payload with -n",
                ));
            }
            return Ok(vec![payload]);
        }
        if self.null_message {
            return Ok(vec![Bytes::new()]);
        }
        self.file.iter().map(|path| read_file(path)).collect()
    }
}

fn read_file(path: &Path) -> Result<Bytes, Failure> {
    let option = format!("--file: {}", path.display());
    match File::open(path) {
        Ok(file) => read_whole(&option, file),
        Err(error) => Err(Failure::usage(format!("{option}: {error}"))),
    }
}

fn read_whole(option: &str, from: impl Read) -> Result<Bytes, Failure> {
    let mut payload = Vec::new();
    from.take(MAX_PAYLOAD + 1)
        .read_to_end(&mut payload)
        .map_err(|error| Failure::usage(format!("{option}: {error}")))?;
    if payload.len() as u64 > MAX_PAYLOAD {
        return Err(Failure::usage(format!("{option}: {}", too_large())));
    }
    Ok(payload.into())
}

fn too_large() -> String {
    format!("larger than {MAX_PAYLOAD} bytes, the most that MQTT can send at once")
}

/// A line of standard input, or why it is none.
pub(crate) type Line = Result<Bytes, LineError>;

/// Why there is no line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LineError {
    /// There is one, which no packet can have.
    TooLarge,
    /// Standard input cannot be read.
    Input(String),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "a line of standard input is {}", too_large()),
            Self::Input(error) => write!(f, "standard input: {error}"),
        }
    }
}

/// Reads records from standard input on a thread of its own, each up to this byte, which is not
/// part of it.
pub(crate) fn lines(end: u8) -> mpsc::Receiver<Vec<Line>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = BufReader::with_capacity(BATCH, io::stdin().lock());
        loop {
            let (batch, is_over) = read_batch(&mut stdin, end);
            // Where nobody receives it the command has ended.
            if sender.blocking_send(batch).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}

/// What is there without waiting, at least one record; and whether the input is over.
fn read_batch<R: Read>(input: &mut BufReader<R>, end: u8) -> (Vec<Line>, bool) {
    let mut batch = Vec::new();
    let mut size = 0;
    loop {
        match read_record(input, end) {
            Ok(None) => return (batch, true),
            Ok(Some(line)) => {
                size += line.as_ref().map_or(0, Bytes::len);
                batch.push(line);
            }
            Err(error) => {
                batch.push(Err(LineError::Input(error.to_string())));
                return (batch, true);
            }
        }
        if size >= BATCH || batch.len() >= 1024 || !input.buffer().contains(&end) {
            return (batch, false);
        }
    }
}

fn read_record(input: &mut impl BufRead, end: u8) -> io::Result<Option<Line>> {
    let mut record = Vec::new();
    let read = input.take(MAX_PAYLOAD + 2).read_until(end, &mut record)?;
    if read == 0 {
        return Ok(None);
    }
    if record.last() == Some(&end) {
        record.pop();
    }
    if record.len() as u64 <= MAX_PAYLOAD {
        return Ok(Some(Ok(record.into())));
    }
    drop(record);
    input.skip_until(end)?;
    Ok(Some(Err(LineError::TooLarge)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(input: &[u8], end: u8) -> Vec<Line> {
        // One byte at a time, so that each batch has one record.
        let mut input = BufReader::with_capacity(1, input);
        let mut records = Vec::new();
        loop {
            let (batch, is_over) = read_batch(&mut input, end);
            records.extend(batch);
            if is_over {
                return records;
            }
        }
    }

    /// mosquitto_pub cuts a line at its first NUL.
    #[test]
    fn records_keep_every_byte_but_their_end() {
        let expected = |texts: &[&'static [u8]]| -> Vec<Line> {
            texts
                .iter()
                .map(|text| Ok(Bytes::from_static(text)))
                .collect()
        };
        assert_eq!(
            records(b"one\n\ntwo\0x\r\nthree", b'\n'),
            expected(&[b"one", b"", b"two\0x\r", b"three"])
        );
        assert_eq!(records(b"a\nb\0c\0", 0), expected(&[b"a\nb", b"c"]));
        assert_eq!(records(b"", b'\n'), expected(&[]));
        let mut whole = BufReader::new(&b"a\nb\nc"[..]);
        let (batch, is_over) = read_batch(&mut whole, b'\n');
        assert_eq!(
            (batch.len(), is_over),
            (2, false),
            "what is incomplete may have to be waited for"
        );
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_to_its_end() {
        let read = read_whole("--file", io::repeat(0));
        assert!(read.is_err_and(|failure| failure.to_string().contains("--file: larger than")));
    }
}
