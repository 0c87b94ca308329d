//! Numbers that became wider: lossless forward, saturating on the way back.

use super::{Migrate, Return};

/// `$old => $new …`: every value of the old type is one of each new type, so says std's `From`.
macro_rules! widened {
    ($($old:ty => $($new:ty)+;)*) => {$($(
        impl Migrate<$old> for $new {
            fn migrate(old: $old) -> Self {
                Self::from(old)
            }
        }

        impl Return<$new> for $old {
            fn back(new: $new) -> Self {
                Saturate::saturate(new)
            }
        }
    )+)*};
}

widened! {
    u8 => u16 u32 u64 u128 i16 i32 i64 i128 f32 f64;
    u16 => u32 u64 u128 i32 i64 i128 f32 f64;
    u32 => u64 u128 i64 i128 f64;
    u64 => u128 i128;
    i8 => i16 i32 i64 i128 f32 f64;
    i16 => i32 i64 i128 f32 f64;
    i32 => i64 i128 f64;
    i64 => i128;
    f32 => f64;
}

/// The value of the narrower type that lies nearest.
trait Saturate<Narrow> {
    fn saturate(self) -> Narrow;
}

macro_rules! integers {
    ($($wide:ty => $($narrow:ty)+;)*) => {$($(
        impl Saturate<$narrow> for $wide {
            #[allow(unused_comparisons, reason = "the macro is for unsigned types too")]
            fn saturate(self) -> $narrow {
                let bound = if self < 0 { <$narrow>::MIN } else { <$narrow>::MAX };
                <$narrow>::try_from(self).unwrap_or(bound)
            }
        }
    )+)*};
}

integers! {
    u16 => u8;
    u32 => u8 u16;
    u64 => u8 u16 u32;
    u128 => u8 u16 u32 u64;
    i16 => u8 i8;
    i32 => u8 u16 i8 i16;
    i64 => u8 u16 u32 i8 i16 i32;
    i128 => u8 u16 u32 u64 i8 i16 i32 i64;
}

/// `as` from a float to an integer drops the fraction and saturates; what is not a number becomes 0.
macro_rules! floats {
    ($($wide:ty => $($narrow:ty)+;)*) => {$($(
        impl Saturate<$narrow> for $wide {
            fn saturate(self) -> $narrow {
                self as $narrow
            }
        }
    )+)*};
}

floats! {
    f32 => u8 u16 i8 i16;
    f64 => u8 u16 u32 i8 i16 i32;
}

impl Saturate<f32> for f64 {
    /// Rounded to the nearest. `as` would make infinity of what is too great, a number that no arithmetic leaves again.
    fn saturate(self) -> f32 {
        if self.is_finite() {
            (self as f32).clamp(f32::MIN, f32::MAX)
        } else {
            self as f32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back<Old: Return<New>, New>(new: New) -> Old {
        Old::back(new)
    }

    #[test]
    fn integers_saturate_at_both_ends() {
        assert_eq!(back::<u8, u16>(255), 255);
        assert_eq!(back::<u8, u16>(256), 255);
        assert_eq!(back::<u32, u128>(u128::MAX), u32::MAX);
        assert_eq!(back::<i8, i64>(-129), -128);
        assert_eq!(back::<i8, i64>(128), 127);
        // A signed type that took an unsigned one up: below zero there is only zero.
        assert_eq!(back::<u32, i64>(-1), 0);
        assert_eq!(back::<u32, i64>(i64::MAX), u32::MAX);
    }

    #[test]
    fn floats_saturate_and_stay_finite() {
        assert_eq!(back::<f32, f64>(1e300), f32::MAX);
        assert_eq!(back::<f32, f64>(-1e300), f32::MIN);
        assert_eq!(back::<f32, f64>(f64::INFINITY), f32::INFINITY);
        assert!(back::<f32, f64>(f64::NAN).is_nan());
        assert_eq!(back::<u8, f32>(300.7), 255);
        assert_eq!(back::<u8, f32>(2.7), 2);
        assert_eq!(back::<i32, f64>(f64::NAN), 0);
    }

    #[test]
    fn every_bound_survives_the_way_there_and_back() {
        macro_rules! bounds {
            ($($old:ty => $($new:ty)+;)*) => {$($(
                for bound in [<$old>::MIN, <$old>::MAX] {
                    assert_eq!(<$old>::back(<$new>::migrate(bound)), bound);
                }
            )+)*};
        }
        bounds! {
            u8 => u16 u32 u64 u128 i16 i32 i64 i128 f32 f64;
            u16 => u32 u64 u128 i32 i64 i128 f32 f64;
            u32 => u64 u128 i64 i128 f64;
            u64 => u128 i128;
            i8 => i16 i32 i64 i128 f32 f64;
            i16 => i32 i64 i128 f32 f64;
            i32 => i64 i128 f64;
            i64 => i128;
            f32 => f64;
        }
    }
}
