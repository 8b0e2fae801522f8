//! What others send as syslog: datagrams, or streams of messages (RFC 6587), each message a record, byte by byte.

use std::{io, path::Path, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream, UdpSocket, UnixDatagram},
    sync::mpsc,
    task::JoinSet,
};

use super::{
    Shared, Stop,
    config::SyslogSource,
    relay::{Relay, TEXTS_AHEAD, TextSender},
    request::Asked,
};
use crate::Timestamp;

/// A datagram is not larger.
const DATAGRAM_BYTES: usize = 64 << 10;
/// A stream is read in pieces of this size.
const READ_BYTES: usize = 16 << 10;
/// Streams at once.
const MAX_STREAMS: usize = 1024;
/// After a failure that may pass, such as too many open files.
const AGAIN: Duration = Duration::from_millis(100);

/// Where messages come from.
enum Socket {
    Udp(UdpSocket),
    Tcp(TcpListener),
    Unix(UnixDatagram),
}

/// Where whole messages come from.
enum Datagrams {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Datagrams {
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.recv(buffer).await,
            Self::Unix(socket) => socket.recv(buffer).await,
        }
    }
}

/// Receives and relays until it is told to stop.
pub(super) async fn run(config: SyslogSource, shared: Shared, stop: Stop, asked: Asked) -> anyhow::Result<()> {
    let socket =
        bind(&config.listen).await.map_err(|error| anyhow::anyhow!("cannot listen on {}: {error}", config.listen))?;
    let relay = Relay::new("syslog", &config.name, &config.topic, config.spool, shared)?;
    let max_bytes = usize::try_from(config.max_record_bytes).unwrap_or(DATAGRAM_BYTES).clamp(1 << 10, 2 << 20);
    let (texts, received) = mpsc::channel(TEXTS_AHEAD);
    let receiving = async move {
        match socket {
            Socket::Udp(socket) => datagrams(Datagrams::Udp(socket), max_bytes, &texts).await,
            Socket::Unix(socket) => datagrams(Datagrams::Unix(socket), max_bytes, &texts).await,
            Socket::Tcp(listener) => streams(listener, max_bytes, texts).await,
        }
    };
    tokio::select! {
        result = relay.run(received, stop, asked) => result.map(drop),
        () = receiving => Ok(()),
    }
}

async fn bind(listen: &str) -> io::Result<Socket> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "want udp://HOST:PORT, tcp://HOST:PORT or unix:PATH");
    if let Some(address) = listen.strip_prefix("udp://") {
        return Ok(Socket::Udp(UdpSocket::bind(address.to_owned()).await?));
    }
    if let Some(address) = listen.strip_prefix("tcp://") {
        return Ok(Socket::Tcp(TcpListener::bind(address.to_owned()).await?));
    }
    let path = Path::new(listen.strip_prefix("unix:").ok_or_else(wrong)?);
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(Socket::Unix(UnixDatagram::bind(path)?))
}

async fn datagrams(socket: Datagrams, max_bytes: usize, texts: &TextSender) {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        match socket.receive(&mut buffer).await {
            Ok(count) => {
                if push(texts, trimmed(&buffer[..count]), max_bytes).await.is_none() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no datagram was received");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn streams(listener: TcpListener, max_bytes: usize, texts: TextSender) {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if streams.len() < MAX_STREAMS => match accepted {
                Ok((stream, peer)) => {
                    let texts = texts.clone();
                    streams.spawn(async move {
                        if let Err(error) = one_stream(stream, max_bytes, &texts).await {
                            tracing::debug!(%peer, %error, "a stream ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no stream was accepted");
                    tokio::time::sleep(AGAIN).await;
                }
            },
            Some(_) = streams.join_next() => {}
        }
    }
}

async fn one_stream(mut stream: TcpStream, max_bytes: usize, texts: &TextSender) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        buffer.reserve(READ_BYTES);
        let is_last = stream.read_buf(&mut buffer).await? == 0;
        while let Some(message) = next_message(&mut buffer, max_bytes, is_last) {
            if push(texts, &message, max_bytes).await.is_none() {
                return Ok(());
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

/// The next message of a stream: behind its length and a space, or up to the end of the line.
fn next_message(buffer: &mut BytesMut, max_bytes: usize, is_last: bool) -> Option<Bytes> {
    if let Some((front, length)) = counted(buffer).filter(|(_, length)| *length <= max_bytes) {
        if buffer.len() < front + length && !is_last {
            return None;
        }
        buffer.advance(front);
        let length = length.min(buffer.len());
        return Some(buffer.split_to(length).freeze());
    }
    let end = match memchr::memchr2(b'\n', 0, buffer) {
        Some(end) => end,
        None if buffer.len() >= max_bytes || (is_last && !buffer.is_empty()) => buffer.len().min(max_bytes),
        None => return None,
    };
    let message = buffer.split_to(end).freeze();
    if !buffer.is_empty() && (buffer[0] == b'\n' || buffer[0] == 0) {
        buffer.advance(1);
    }
    Some(Bytes::copy_from_slice(trimmed(&message)))
}

/// Length of the front of a counted message, and of the message: `113 <34>1 ...`.
fn counted(buffer: &[u8]) -> Option<(usize, usize)> {
    let digits = buffer.iter().take(7).take_while(|byte| byte.is_ascii_digit()).count();
    let is_counted =
        digits > 0 && buffer.get(digits) == Some(&b' ') && buffer.get(digits + 1).is_none_or(|next| *next == b'<');
    let length = std::str::from_utf8(&buffer[..digits]).ok()?.parse().ok()?;
    is_counted.then_some((digits + 1, length))
}

fn trimmed(message: &[u8]) -> &[u8] {
    let end = message.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0)).map_or(0, |last| last + 1);
    &message[..end]
}

/// Hands a message over, in parts when it is long. `None`: nobody takes it any more.
async fn push(texts: &TextSender, message: &[u8], max_bytes: usize) -> Option<()> {
    for part in message.chunks(max_bytes) {
        texts.send((Timestamp::now(), Bytes::copy_from_slice(part))).await.ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_stream_are_counted_or_end_with_the_line() {
        let text = b"<34>first\n<34>second\r\n17 <34>third\nfourth!<34>fifth\0<34>last";
        for step in 1..text.len() {
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            let pieces: Vec<_> = text.chunks(step).collect();
            for (at, piece) in pieces.iter().enumerate() {
                buffer.extend_from_slice(piece);
                while let Some(message) = next_message(&mut buffer, 1000, at + 1 == pieces.len()) {
                    found.push(String::from_utf8_lossy(&message).into_owned());
                }
            }
            assert_eq!(
                found,
                ["<34>first", "<34>second", "<34>third\nfourth!", "<34>fifth", "<34>last"],
                "in steps of {step}"
            );
        }
    }

    #[test]
    fn a_message_that_never_ends_is_cut() {
        let mut buffer = BytesMut::from(&[b'x'; 2500][..]);
        let sizes: Vec<_> =
            std::iter::from_fn(|| next_message(&mut buffer, 1000, true)).map(|message| message.len()).collect();
        assert_eq!(sizes, [1000, 1000, 500]);
    }
}
