//! Hash functions.

pub mod digest;
pub mod hash_code;

use super::FunctionDef;

/// The functions of this group.
pub static LIST: &[&FunctionDef] = &[
    &digest::MD5,
    &digest::SHA1,
    &digest::SHA224,
    &digest::SHA256,
    &digest::SHA384,
    &digest::SHA512,
    &digest::SHA2,
    &hash_code::HASH_CODE,
];
