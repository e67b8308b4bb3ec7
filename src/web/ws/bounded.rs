//! What a client sends, looked at before anybody buffers it: the library keeps all of a frame before it compares its length
//! with a limit, and a header may announce 2^63 bytes.

use actix_web::error::PayloadError;
use actix_web::{FromRequest, HttpRequest, dev, web};
use bytes::Bytes;
use futures_util::Stream;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Where the stream of bytes stands in the frames of RFC 6455, section 5.2.
#[derive(Debug, Default)]
struct Frames {
    /// The header so far.
    header: Vec<u8>,
    /// Bytes of the payload that are still to come.
    left: u64,
}

impl Frames {
    /// Goes through some bytes. `false` at a frame whose payload is longer than `most` bytes.
    fn pass(&mut self, mut bytes: &[u8], most: u64) -> bool {
        while !bytes.is_empty() {
            let payload = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            if payload > 0 {
                self.left -= payload as u64;
                bytes = &bytes[payload..];
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            let Some(length) = payload_length(&self.header) else { continue };
            if length > most {
                return false;
            }
            self.header.clear();
            self.left = length;
        }
        true
    }
}

/// The length of the payload, once the header is there whole.
fn payload_length(header: &[u8]) -> Option<u64> {
    let second = *header.get(1)?;
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    if header.len() < 2 + extended + mask {
        return None;
    }
    let number = header[2..2 + extended].iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
    Some(if extended == 0 { u64::from(second & 0x7f) } else { number })
}

struct Bounded {
    payload: dev::Payload,
    frames: Frames,
    most: u64,
    /// Raised at a frame that is too long.
    exceeded: Rc<Cell<bool>>,
}

impl Stream for Bounded {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.exceeded.get() {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.payload).poll_next(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &polled {
            let most = self.most;
            if !self.frames.pass(bytes, most) {
                self.exceeded.set(true);
                return Poll::Ready(Some(Err(PayloadError::Overflow)));
            }
        }
        polled
    }
}

/// The same payload, which ends with an error where a frame announces more than `most` bytes; the flag says so then.
pub(super) fn bounded(
    request: &HttpRequest,
    payload: web::Payload,
    most: usize,
) -> Result<(web::Payload, Rc<Cell<bool>>), actix_web::Error> {
    let exceeded = Rc::new(Cell::new(false));
    let inner = payload.into_inner();
    let bounded = Bounded { payload: inner, frames: Frames::default(), most: most as u64, exceeded: exceeded.clone() };
    let mut stream: dev::Payload = dev::Payload::Stream { payload: Box::pin(bounded) };
    // It only puts the stream into its wrapper, which has no constructor.
    let payload = web::Payload::from_request(request, &mut stream).into_inner()?;
    Ok((payload, exceeded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_however_they_are_cut_and_a_long_one_is_seen_in_its_header() {
        let mut bytes = vec![0x81, 0x83, 1, 2, 3, 4, b'a', b'b', b'c'];
        bytes.extend([0x81, 0xfe, 0x00, 0xc8, 1, 2, 3, 4]);
        bytes.extend([0; 200]);
        bytes.extend([0x89, 0x80, 1, 2, 3, 4]);
        for cut in 1..=bytes.len() {
            let mut frames = Frames::default();
            assert!(bytes.chunks(cut).all(|part| frames.pass(part, 200)), "{cut}");
            assert!(frames.header.is_empty() && frames.left == 0, "{cut}");
            let mut frames = Frames::default();
            assert!(!bytes.chunks(cut).all(|part| frames.pass(part, 199)), "{cut}");
        }
        let huge = [0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        assert!(!Frames::default().pass(&huge, 1 << 39));
        assert!(Frames::default().pass(&huge[..13], 1 << 39), "not whole yet");
    }
}
