//! Floors of the codec. `version` is 4 (MQTT 3.1.1) or 5.
use bytes::{Bytes, BytesMut};

/// Appends a PUBLISH; `properties` are already encoded (MQTT 5 only).
pub fn encode(
    out: &mut BytesMut,
    version: u8,
    qos: u8,
    id: u16,
    topic: &str,
    properties: &[u8],
    payload: &[u8],
) {
    let extra = if version == 5 { 1 + properties.len() } else { 0 };
    let remaining = 2 + topic.len() + if qos > 0 { 2 } else { 0 } + extra + payload.len();
    out.reserve(remaining + 5);
    let mut head = [0u8; 7];
    head[0] = 0x30 | qos << 1;
    let (mut rest, mut n) = (remaining, 1);
    while rest >= 128 {
        head[n] = rest as u8 | 128;
        rest >>= 7;
        n += 1;
    }
    head[n] = rest as u8;
    head[n + 1..n + 3].copy_from_slice(&(topic.len() as u16).to_be_bytes());
    out.extend_from_slice(&head[..n + 3]);
    out.extend_from_slice(topic.as_bytes());
    if qos > 0 {
        out.extend_from_slice(&id.to_be_bytes());
    }
    if version == 5 {
        out.extend_from_slice(&[properties.len() as u8]);
        out.extend_from_slice(properties);
    }
    out.extend_from_slice(payload);
}

/// Header length and packet length, if the packet is whole.
pub fn frame(b: &[u8]) -> Option<(usize, usize)> {
    if b.len() < 2 {
        return None;
    }
    if b[1] < 128 {
        let l = 2 + b[1] as usize;
        return if b.len() < l { None } else { Some((2, l)) };
    }
    let (mut remaining, mut shift, mut i) = (0usize, 0, 1);
    loop {
        let x = *b.get(i)?;
        remaining |= ((x & 127) as usize) << shift;
        i += 1;
        shift += 7;
        if x & 128 == 0 {
            break;
        }
        assert!(shift <= 21, "malformed length");
    }
    if b.len() < i + remaining { None } else { Some((i, i + remaining)) }
}

pub struct Borrowed<'a> {
    pub first: u8,
    pub topic: &'a str,
    pub id: u16,
    pub properties: &'a [u8],
    pub payload: &'a [u8],
}

/// Topic checked, properties not walked.
pub fn decode_borrowed(b: &[u8], version: u8) -> Option<(Borrowed<'_>, usize)> {
    let (i, l) = frame(b)?;
    let f = &b[..l];
    let t = u16::from_be_bytes([f[i], f[i + 1]]) as usize;
    let topic = std::str::from_utf8(&f[i + 2..i + 2 + t]).ok()?;
    let mut k = i + 2 + t;
    let id = if f[0] & 6 != 0 {
        k += 2;
        u16::from_be_bytes([f[k - 2], f[k - 1]])
    } else {
        0
    };
    let mut properties = &f[k..k];
    if version == 5 {
        let n = f[k] as usize;
        properties = &f[k + 1..k + 1 + n];
        k += 1 + n;
    }
    Some((Borrowed { first: f[0], topic, id, properties, payload: &f[k..] }, l))
}

/// One `Bytes` for the packet, and where things are in it.
pub struct Owned {
    pub packet: Bytes,
    pub topic: (u32, u16),
    pub properties: (u32, u32),
    pub payload: u32,
}

/// QoS 0, MQTT 5, property length below 128: everything validated, nothing allocated.
pub fn decode_owned(b: &mut BytesMut) -> Option<Owned> {
    let (i, l) = frame(b)?;
    let t = u16::from_be_bytes([b[i], b[i + 1]]) as usize;
    let p = i + 2 + t + 1;
    let n = b[p - 1] as usize;
    assert!(text(&b[i + 2..i + 2 + t]));
    walk(&b[p..p + n]).expect("malformed properties");
    let packet = b.split_to(l).freeze();
    Some(Owned {
        packet,
        topic: (i as u32 + 2, t as u16),
        properties: (p as u32, n as u32),
        payload: (p + n) as u32,
    })
}

fn text(b: &[u8]) -> bool {
    if b.is_ascii() { !b.contains(&0) } else { std::str::from_utf8(b).is_ok_and(|s| !s.contains('\0')) }
}

/// Every PUBLISH property: known, not repeated, whole, well-formed. Returns the set seen.
pub fn walk(mut p: &[u8]) -> Option<u32> {
    fn string<'a>(p: &mut &'a [u8]) -> Option<&'a [u8]> {
        let l = u16::from_be_bytes([*p.first()?, *p.get(1)?]) as usize;
        let s = p.get(2..2 + l)?;
        *p = &p[2 + l..];
        Some(s)
    }
    let mut seen = 0u32;
    while let Some((&id, rest)) = p.split_first() {
        p = rest;
        if id != 0x26 && id != 0x0b {
            if seen >> (id & 31) & 1 == 1 {
                return None;
            }
            seen |= 1 << (id & 31);
        }
        match id {
            0x01 => p = p.get(1..)?,
            0x02 => p = p.get(4..)?,
            0x23 => p = p.get(2..)?,
            0x03 | 0x08 => {
                if !text(string(&mut p)?) {
                    return None;
                }
            }
            0x09 => {
                string(&mut p)?;
            }
            0x26 => {
                if !text(string(&mut p)?) || !text(string(&mut p)?) {
                    return None;
                }
            }
            0x0b => {
                while *p.first()? & 128 != 0 {
                    p = &p[1..];
                }
                p = &p[1..];
            }
            _ => return None,
        }
    }
    Some(seen)
}
