//! The fields of a packet, one after the other, and its properties.

use crate::linter::rules::Rule;

pub(super) type Decoded<T> = Result<T, (Rule, String)>;

pub(super) fn wrong<T>(rule: Rule, what: impl Into<String>) -> Decoded<T> {
    Err((rule, what.into()))
}

enum Value {
    Number(u32),
    Text(String),
    Other,
}

#[derive(Default)]
pub(super) struct Properties(Vec<(u8, Value)>);

impl Properties {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, id: u8) -> bool {
        self.0.iter().any(|(it, _)| *it == id)
    }

    pub(super) fn number(&self, id: u8) -> Option<u32> {
        self.0.iter().find_map(|(it, value)| match value {
            Value::Number(n) if *it == id => Some(*n),
            _ => None,
        })
    }

    pub(super) fn text(&self, id: u8) -> Option<String> {
        self.0.iter().find_map(|(it, value)| match value {
            Value::Text(text) if *it == id => Some(text.clone()),
            _ => None,
        })
    }
}

pub(super) struct WireReader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> WireReader<'a> {
    fn bytes(&mut self, n: usize) -> Decoded<&'a [u8]> {
        let Some((bytes, rest)) = self.rest.split_at_checked(n) else {
            return wrong(Rule::Layout, "a field goes past the packet's end");
        };
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn end(&self) -> Decoded<()> {
        match self.rest.len() {
            0 => Ok(()),
            n => wrong(Rule::Layout, format!("{n} bytes behind the last field")),
        }
    }

    pub(super) fn byte(&mut self) -> Decoded<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub(super) fn u16(&mut self) -> Decoded<u16> {
        self.bytes(2)
            .map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Decoded<u32> {
        Ok(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    fn variable(&mut self) -> Decoded<u32> {
        let mut value = 0;
        for i in 0..4 {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                if byte == 0 && i > 0 {
                    return wrong(Rule::Length, "a number with a byte too many");
                }
                return Ok(value);
            }
        }
        wrong(Rule::Length, "a number of five bytes")
    }

    pub(super) fn identifier(&mut self) -> Decoded<u16> {
        match self.u16()? {
            0 => wrong(Rule::IdentifierZero, "packet identifier 0"),
            id => Ok(id),
        }
    }

    pub(super) fn binary(&mut self) -> Decoded<&'a [u8]> {
        let n = self.u16()?;
        self.bytes(n.into())
    }

    pub(super) fn string(&mut self) -> Decoded<String> {
        let bytes = self.binary()?;
        let Ok(text) = core::str::from_utf8(bytes) else {
            return wrong(Rule::Utf8, format!("not UTF-8: {bytes:02x?}"));
        };
        if text.contains('\0') {
            return wrong(Rule::Null, format!("U+0000 in {text:?}"));
        }
        Ok(text.to_owned())
    }

    pub(super) fn properties(&mut self, allowed: &[u8]) -> Decoded<Properties> {
        let n = self.variable()?;
        let mut inner = WireReader {
            rest: self.bytes(n as usize)?,
        };
        let mut properties = Properties::default();
        while !inner.rest.is_empty() {
            let id = inner.variable()?;
            let Some(id) = u8::try_from(id).ok().filter(|id| allowed.contains(id)) else {
                return wrong(Rule::PropertyPlace, format!("property {id:#04x}"));
            };
            // A message that matches several subscriptions has an identifier of each.
            let once = id != 0x26 && !(id == 0x0b && allowed.contains(&0x23));
            if once && properties.has(id) {
                return wrong(Rule::PropertyTwice, format!("property {id:#04x} twice"));
            }
            let value = inner.property(id)?;
            if matches!((id, &value), (0x21 | 0x27 | 0x0b, Value::Number(0))) {
                return wrong(Rule::PropertyValue, format!("property {id:#04x} is 0"));
            }
            properties.0.push((id, value));
        }
        Ok(properties)
    }

    /// The value of a property, by the type that the specification gives it.
    fn property(&mut self, id: u8) -> Decoded<Value> {
        Ok(match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => {
                let value = self.byte()?;
                if value > 1 {
                    return wrong(
                        Rule::PropertyValue,
                        format!("property {id:#04x} is {value}"),
                    );
                }
                Value::Number(value.into())
            }
            0x13 | 0x21 | 0x22 | 0x23 => Value::Number(self.u16()?.into()),
            0x02 | 0x11 | 0x18 | 0x27 => Value::Number(self.u32()?),
            0x0b => Value::Number(self.variable()?),
            0x09 | 0x16 => {
                self.binary()?;
                Value::Other
            }
            0x26 => {
                self.string()?;
                self.string()?;
                Value::Other
            }
            _ => Value::Text(self.string()?),
        })
    }
}
