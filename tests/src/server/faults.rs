//! What servers do that they must not, at every level of the stack.

use super::{BoxedStream, ServerStream};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Where something happens, from the socket up. With TLS and WebSocket these are five places;
/// without TLS there are no `Records`, without WebSocket no `Frames`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The socket, from its first byte.
    Socket,
    /// The socket again, from the end of the TLS handshake: its records.
    Records,
    /// What TLS protects, or else the socket: it begins with HTTP where there is WebSocket.
    Stream,
    /// The same, from the end of the WebSocket handshake: its frames.
    Frames,
    /// The bytes of MQTT.
    Packets,
}

/// How a server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultEnd {
    /// It says nothing more, and the connection stays.
    Hang,
    /// The socket is closed. Nothing announces that: no close_notify, no close frame.
    Cut,
    /// Each level below takes its leave as it should.
    Close,
}

/// What a server does that it must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Writes one byte at a time.
    Drips(Level),
    /// Ends after this number of bytes at this level.
    Ends {
        /// Where they are counted.
        at: Level,
        /// How many. 0: as soon as the level is reached.
        after: usize,
        /// How it ends.
        end: FaultEnd,
    },
    /// Waits for the first bytes of the client, writes these, and ends. Nobody stands above this
    /// level.
    Says {
        /// Where it speaks.
        at: Level,
        /// What it says.
        bytes: Vec<u8>,
        /// How it ends.
        end: FaultEnd,
    },
}

impl Fault {
    /// Nothing comes from this level.
    pub fn silent(at: Level) -> Self {
        Self::Ends {
            at,
            after: 0,
            end: FaultEnd::Hang,
        }
    }

    /// Whether it is at this level.
    fn is_at(&self, level: Level) -> bool {
        let (Self::Drips(at) | Self::Ends { at, .. } | Self::Says { at, .. }) = self;
        *at == level
    }
}

/// What of it happens at this level.
pub(super) fn says(faults: &[Fault], level: Level) -> Option<(&[u8], FaultEnd)> {
    faults
        .iter()
        .filter(|fault| fault.is_at(level))
        .find_map(|fault| match fault {
            Fault::Says { bytes, end, .. } => Some((&**bytes, *end)),
            _ => None,
        })
}

/// Does what [`Fault::Says`] says.
pub(super) async fn say(
    mut stream: impl ServerStream,
    speech: (&[u8], FaultEnd),
) -> io::Result<()> {
    if stream.read(&mut [0; 4096]).await? == 0 {
        return Ok(());
    }
    speak(stream, speech).await
}

/// The same, when the first bytes of the client have come already.
pub(super) async fn speak(
    mut stream: impl ServerStream,
    (bytes, end): (&[u8], FaultEnd),
) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    match end {
        FaultEnd::Cut => return Ok(()),
        FaultEnd::Close => stream.shutdown().await?,
        FaultEnd::Hang => {}
    }
    // Until the client has had enough.
    let mut input = [0; 4096];
    while stream.read(&mut input).await? > 0 {}
    Ok(())
}

/// A stream with faults that can be set while it is in use.
pub(super) struct Faulty<S> {
    stream: S,
    valve: Valve,
    /// The next byte has to wait for a turn.
    dripped: bool,
}

/// Sets the faults of a [`Faulty`] stream that is hidden below others.
#[derive(Clone, Default)]
pub(super) struct Valve(Arc<Mutex<Setting>>);

#[derive(Clone, Copy, Default)]
struct Setting {
    drips: bool,
    /// How many bytes may still be written.
    ends: Option<(usize, FaultEnd)>,
}

impl Valve {
    /// From here on the faults of this level happen.
    pub(super) fn set(&self, faults: &[Fault], level: Level) {
        let mut setting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for fault in faults.iter().filter(|fault| fault.is_at(level)) {
            match fault {
                Fault::Drips(_) => setting.drips = true,
                Fault::Ends { after, end, .. } => setting.ends = Some((*after, *end)),
                Fault::Says { .. } => {}
            }
        }
    }

    fn setting(&self) -> Setting {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self, n: usize) {
        let mut setting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((left, _)) = &mut setting.ends {
            *left -= n;
        }
    }
}

impl<S: ServerStream + 'static> Faulty<S> {
    /// The stream, boxed, and what sets its faults.
    pub(super) fn boxed(stream: S) -> (BoxedStream, Valve) {
        let valve = Valve::default();
        (
            Box::new(Self {
                stream,
                valve: valve.clone(),
                dripped: false,
            }),
            valve,
        )
    }
}

impl<S: AsyncWrite + Unpin> Faulty<S> {
    /// Ends the stream when its time has come.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some((0, end)) = self.valve.setting().ends {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            if end == FaultEnd::Close {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            }
            if end != FaultEnd::Hang {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Faulty<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_end(cx))?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Faulty<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_end(cx))?;
        let Setting { drips, ends } = self.valve.setting();
        let mut part = buf;
        match ends {
            // It hangs. Nobody wakes it.
            Some((0, _)) => return Poll::Pending,
            Some((left, _)) => part = &part[..part.len().min(left)],
            None => {}
        }
        if drips {
            if std::mem::replace(&mut self.dripped, true) {
                self.dripped = false;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            part = &part[..part.len().min(1)];
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, part))?;
        self.valve.written(written);
        if drips {
            // So that no lower level makes one write of it.
            let _ = Pin::new(&mut self.stream).poll_flush(cx)?;
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_end(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_end(cx))?;
        match self.valve.setting().ends {
            Some((0, _)) => Poll::Pending,
            _ => Pin::new(&mut self.stream).poll_shutdown(cx),
        }
    }
}
