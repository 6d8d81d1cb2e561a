//! Functions of strings.
//!
//! Results that are parts of an argument are views into its buffers: see [`parts`].

pub mod affix;
pub mod base64;
pub mod case;
pub mod charset;
pub mod classify;
pub mod code_point;
pub mod concat;
pub mod elt;
pub mod inet;
pub mod length;
pub mod like;
pub mod overlay;
pub mod pad;
pub mod parse_url;
pub mod parts;
pub mod position;
pub mod printf;
pub mod regexp;
pub mod repeat;
pub mod replace;
pub mod signature;
pub mod similar;
pub mod split;
pub mod str_to_map;
pub mod substring;
#[cfg(test)]
pub mod testing;
pub mod trim;
pub mod url_code;
pub mod uuid;

use super::FunctionDef;

/// The functions of this group.
pub static LIST: &[&FunctionDef] = &[
    &affix::STARTSWITH,
    &affix::ENDSWITH,
    &base64::TO_BASE64,
    &base64::FROM_BASE64,
    &case::UPPER,
    &case::LOWER,
    &case::INITCAP,
    &charset::ENCODE,
    &charset::DECODE,
    &classify::IS_ALPHA,
    &classify::IS_DECIMAL,
    &classify::IS_DIGIT,
    &code_point::ASCII,
    &code_point::CHR,
    &concat::CONCAT_OPERATOR,
    &concat::CONCAT,
    &concat::CONCAT_WS,
    &elt::ELT,
    &inet::INET_ATON,
    &inet::INET_NTOA,
    &length::CHAR_LENGTH,
    &like::LIKE,
    &like::NOT_LIKE,
    &overlay::OVERLAY,
    &pad::LPAD,
    &pad::RPAD,
    &parse_url::PARSE_URL,
    &position::POSITION,
    &position::LOCATE,
    &position::INSTR,
    &printf::PRINTF,
    &regexp::find::REGEXP,
    &regexp::find::REGEXP_COUNT,
    &regexp::find::REGEXP_INSTR,
    &regexp::find::REGEXP_SUBSTR,
    &regexp::extract::REGEXP_EXTRACT,
    &regexp::extract::REGEXP_EXTRACT_ALL,
    &regexp::replace::REGEXP_REPLACE,
    &repeat::REPEAT,
    &repeat::REVERSE,
    &replace::REPLACE,
    &replace::TRANSLATE,
    &similar::SIMILAR_TO,
    &similar::NOT_SIMILAR_TO,
    &split::SPLIT_INDEX,
    &split::SPLIT,
    &str_to_map::STR_TO_MAP,
    &substring::SUBSTRING,
    &substring::LEFT,
    &substring::RIGHT,
    &trim::TRIM,
    &trim::LTRIM,
    &trim::RTRIM,
    &trim::BTRIM,
    &url_code::URL_ENCODE,
    &url_code::URL_DECODE,
    &uuid::UUID,
];
