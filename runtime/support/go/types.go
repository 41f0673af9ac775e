// Package types has the values of WIT that Go does not know. Written by
// `pelton build`; changes are lost.
package types

const (
	ResultOk   = 0
	ResultErr  = 1
	OptionNone = 0
	OptionSome = 1
)

// Unit is the value of a result without one.
type Unit struct{}

// Option is a value that may be missing.
type Option[T any] struct {
	isSome bool
	value  T
}

// Some is an option with a value.
func Some[T any](value T) Option[T] { return Option[T]{true, value} }

// None is an option without a value.
func None[T any]() Option[T] { return Option[T]{} }

// Tag is OptionNone or OptionSome.
func (o Option[T]) Tag() uint8 {
	if o.isSome {
		return OptionSome
	}
	return OptionNone
}

// IsSome says whether there is a value.
func (o Option[T]) IsSome() bool { return o.isSome }

// IsNone says whether there is none.
func (o Option[T]) IsNone() bool { return !o.isSome }

// Some is the value, which has to be there.
func (o Option[T]) Some() T {
	if !o.isSome {
		panic("this option has no value")
	}
	return o.value
}

// Result is a value or an error.
type Result[T, U any] struct {
	isErr bool
	ok    T
	err   U
}

// Ok is a result with a value.
func Ok[T, U any](value T) Result[T, U] { return Result[T, U]{ok: value} }

// Err is a result with an error.
func Err[T, U any](err U) Result[T, U] { return Result[T, U]{isErr: true, err: err} }

// Tag is ResultOk or ResultErr.
func (r Result[T, U]) Tag() uint8 {
	if r.isErr {
		return ResultErr
	}
	return ResultOk
}

// IsOk says whether there is a value.
func (r Result[T, U]) IsOk() bool { return !r.isErr }

// IsErr says whether there is an error.
func (r Result[T, U]) IsErr() bool { return r.isErr }

// Ok is the value, if there is no error.
func (r Result[T, U]) Ok() T {
	if r.isErr {
		panic("this result is an error")
	}
	return r.ok
}

// Err is the error, if there is one.
func (r Result[T, U]) Err() U {
	if !r.isErr {
		panic("this result is no error")
	}
	return r.err
}

// Tuple2 and its like are tuples.
type Tuple2[A, B any] struct {
	F0 A
	F1 B
}

type Tuple3[A, B, C any] struct {
	F0 A
	F1 B
	F2 C
}

type Tuple4[A, B, C, D any] struct {
	F0 A
	F1 B
	F2 C
	F3 D
}

type Tuple5[A, B, C, D, E any] struct {
	F0 A
	F1 B
	F2 C
	F3 D
	F4 E
}
