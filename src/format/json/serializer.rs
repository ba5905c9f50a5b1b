use std::fmt::{self, Write};

use serde::ser::{self, Impossible, Serialize};

use super::escape::{self, Style};
use super::number;
use crate::format::FormatError;

/// Writes what Harbor's payloads are made of: structs, maps, lists, texts and numbers. Anything else is an error.
pub(super) struct Writer<'a, S> {
    out: &'a mut Vec<u8>,
    style: S,
    level: usize,
}

impl<'a, S: Style> Writer<'a, S> {
    pub(super) fn new(out: &'a mut Vec<u8>, style: S) -> Self {
        Self { out, style, level: 0 }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    #[inline]
    fn begin(&mut self, open: u8, close: u8) -> Compound<'_, 'a, S> {
        self.out.push(open);
        self.level += 1;
        Compound { writer: self, close, empty: true }
    }
}

/// A list, a map or a struct that was begun.
pub(super) struct Compound<'w, 'a, S> {
    writer: &'w mut Writer<'a, S>,
    close: u8,
    empty: bool,
}

impl<S: Style> Compound<'_, '_, S> {
    #[inline]
    fn next(&mut self) {
        if !self.empty {
            self.writer.out.push(b',');
        }
        self.empty = false;
        self.writer.style.line(self.writer.out, self.writer.level);
    }

    #[inline]
    fn finish(self) {
        self.writer.level -= 1;
        if !self.empty {
            self.writer.style.line(self.writer.out, self.writer.level);
        }
        self.writer.out.push(self.close);
    }
}

impl<S: Style> ser::SerializeStruct for Compound<'_, '_, S> {
    type Ok = ();
    type Error = FormatError;

    /// The keys of our structs hold nothing to escape.
    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), FormatError> {
        self.next();
        self.writer.put(S::QUOTE);
        self.writer.put(key.as_bytes());
        self.writer.put(S::KEY_END);
        value.serialize(&mut *self.writer)
    }

    #[inline]
    fn end(self) -> Result<(), FormatError> {
        self.finish();
        Ok(())
    }
}

impl<S: Style> ser::SerializeMap for Compound<'_, '_, S> {
    type Ok = ();
    type Error = FormatError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), FormatError> {
        self.next();
        let from = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        if !self.writer.out[from..].starts_with(S::QUOTE) {
            return Err(unsupported("a key that is not a text"));
        }
        self.writer.out.truncate(self.writer.out.len() - S::QUOTE.len());
        self.writer.put(S::KEY_END);
        Ok(())
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FormatError> {
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), FormatError> {
        self.finish();
        Ok(())
    }
}

impl<S: Style> ser::SerializeSeq for Compound<'_, '_, S> {
    type Ok = ();
    type Error = FormatError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), FormatError> {
        self.next();
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), FormatError> {
        self.finish();
        Ok(())
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty),*) => { $(
        #[inline]
        fn $method(self, number: $type) -> Result<(), FormatError> {
            number::integer(self.out, number);
            Ok(())
        }
    )* };
}

macro_rules! refused {
    ($($method:ident($($arg:ty),*) -> $ok:ty),* $(,)?) => { $(
        fn $method(self, $(_: $arg),*) -> Result<$ok, FormatError> {
            Err(unsupported(stringify!($method)))
        }
    )* };
}

impl<'w, 'a, S: Style> ser::Serializer for &'w mut Writer<'a, S> {
    type Ok = ();
    type Error = FormatError;
    type SerializeSeq = Compound<'w, 'a, S>;
    type SerializeMap = Compound<'w, 'a, S>;
    type SerializeStruct = Compound<'w, 'a, S>;
    type SerializeTuple = Impossible<(), FormatError>;
    type SerializeTupleStruct = Impossible<(), FormatError>;
    type SerializeTupleVariant = Impossible<(), FormatError>;
    type SerializeStructVariant = Impossible<(), FormatError>;

    integers!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    integers!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);

    #[inline]
    fn serialize_str(self, text: &str) -> Result<(), FormatError> {
        self.put(S::QUOTE);
        escape::text::<S>(self.out, text);
        self.put(S::QUOTE);
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), FormatError> {
        self.put(S::QUOTE);
        write!(Escaping::<S>(self), "{value}").map_err(|_| unsupported("a value that cannot be displayed"))?;
        self.put(S::QUOTE);
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<(), FormatError> {
        self.put(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f64(self, number: f64) -> Result<(), FormatError> {
        number::float(self.out, number).map_err(|_| unsupported("a number that is not finite"))
    }

    fn serialize_f32(self, number: f32) -> Result<(), FormatError> {
        self.serialize_f64(f64::from(number))
    }

    fn serialize_char(self, c: char) -> Result<(), FormatError> {
        self.serialize_str(c.encode_utf8(&mut [0; 4]))
    }

    fn serialize_unit(self) -> Result<(), FormatError> {
        self.put(b"null");
        Ok(())
    }

    fn serialize_none(self) -> Result<(), FormatError> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), FormatError> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), FormatError> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self::SerializeStruct, FormatError> {
        Ok(self.begin(b'{', b'}'))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap, FormatError> {
        Ok(self.begin(b'{', b'}'))
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Self::SerializeSeq, FormatError> {
        Ok(self.begin(b'[', b']'))
    }

    refused! {
        serialize_bytes(&[u8]) -> (),
        serialize_unit_struct(&'static str) -> (),
        serialize_unit_variant(&'static str, u32, &'static str) -> (),
        serialize_tuple(usize) -> Self::SerializeTuple,
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant,
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), FormatError> {
        Err(unsupported("serialize_newtype_variant"))
    }
}

/// Escapes what is displayed.
struct Escaping<'w, 'a, S>(&'w mut Writer<'a, S>);

impl<S: Style> Write for Escaping<'_, '_, S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape::text::<S>(self.0.out, text);
        Ok(())
    }
}

fn unsupported(what: &str) -> FormatError {
    FormatError::new(format!("JSON of this crate's payloads does not hold this: {what}"))
}

impl ser::Error for FormatError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}
