//! Helpers for the proto3 JSON mapping (protobuf.dev, "ProtoJSON Format").

use std::borrow::Cow;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Parses a message. Empty input is the empty message, as some clients send no body for one.
///
/// # Errors
/// [`crate::ConnectError`] with `invalid_argument` when it is not JSON of this message.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, crate::ConnectError> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let invalid = |why: &dyn std::fmt::Display| {
        crate::ConnectError::invalid(format_args!("unmarshal message: {why}"))
    };
    // An array would do for a message otherwise, as it still does for those within one.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(invalid(&"it is no JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| invalid(&error))
}

/// `null` is the default.
pub fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Leaves out a value that equals its default.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number<'a> {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

fn integer<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i128>, D::Error> {
    let bad = || D::Error::custom("not an integer");
    let whole = |float: f64| {
        // Above 2^53 a float no longer names one integer; 2^64 is the most any field takes.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "fraction and range are checked"
        )]
        (float.fract() == 0.0 && float.abs() < 1.9e19).then_some(float as i128)
    };
    match Option::<Number<'de>>::deserialize(from)? {
        None => Ok(None),
        Some(Number::Signed(value)) => Ok(Some(value.into())),
        Some(Number::Unsigned(value)) => Ok(Some(value.into())),
        Some(Number::Float(value)) => whole(value).map(Some).ok_or_else(bad),
        Some(Number::Text(text)) => text.parse().map(Some).map_err(|_| bad()),
    }
}

fn fit<T: TryFrom<i128>, E: serde::de::Error>(value: i128) -> Result<T, E> {
    value
        .try_into()
        .map_err(|_| E::custom("integer out of range"))
}

/// An integer as a number or a string; `null` is 0.
///
/// # Errors
/// Anything else, or out of the type's range.
pub fn read_int<'de, D: Deserializer<'de>, T: TryFrom<i128>>(from: D) -> Result<T, D::Error> {
    fit(integer(from)?.unwrap_or(0))
}

/// The same where presence counts.
///
/// # Errors
/// As [`read_int`].
pub fn read_opt_int<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128>,
{
    integer(from)?.map(fit).transpose()
}

/// 64-bit integers are written as strings.
pub mod int64 {
    use super::{Deserializer, Serializer};

    /// Writes `"123"`.
    pub fn serialize<S: Serializer>(value: &i64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    /// Reads `123` or `"123"`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        super::read_int(from)
    }
}

/// Bytes are base64 text.
pub mod bytes {
    use super::{Cow, Deserialize, Deserializer, Serializer, decode_base64};
    use serde::de::Error as _;

    /// Writes the standard alphabet with padding.
    pub fn serialize<S: Serializer>(value: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(&base64::display::Base64Display::new(
                value,
                &base64::engine::general_purpose::STANDARD,
            )),
            None => to.serialize_none(),
        }
    }

    /// Reads either alphabet, padded or not.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
        Option::<Text<'de>>::deserialize(from)?
            .map(|text| decode_base64(&text.0).ok_or_else(|| D::Error::custom("not base64")))
            .transpose()
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let url_safe = text.bytes().any(|byte| byte == b'-' || byte == b'_');
    if url_safe {
        URL_SAFE.decode(text)
    } else {
        STANDARD.decode(text)
    }
    .ok()
}

/// Declares an enum with its proto names and numbers. An unknown number reads as the first variant,
/// as proto3 keeps unknown values; an unknown name is an error.
macro_rules! proto_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
        $vis enum $name { $($(#[$vmeta])* $variant = $number,)* }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(match self { $(Self::$variant => $text,)* })
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(untagged)]
                enum Either<'a> { Number(i64), #[serde(borrow)] Text(std::borrow::Cow<'a, str>) }
                match Option::<Either<'de>>::deserialize(from)? {
                    None => Ok(Self::default()),
                    Some(Either::Number(number)) => Ok(match number { $($number => Self::$variant,)* _ => Self::default() }),
                    Some(Either::Text(text)) => match text.as_ref() {
                        $($text => Ok(Self::$variant),)*
                        other => Err(serde::de::Error::custom(format_args!("unknown value {other:?} of {}", stringify!($name)))),
                    },
                }
            }
        }
    };
}
pub(crate) use proto_enum;
