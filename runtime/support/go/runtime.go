// Package runtime lends memory between the host and Go's collector. Written by
// `pelton build`; changes are lost.
package runtime

import (
	"runtime"
	"unsafe"
)

// Handle is a resource of the host.
type Handle struct{ value int32 }

// MakeHandle takes over a handle.
func MakeHandle(value int32) *Handle { return &Handle{must(value)} }

// Use returns the handle, which stays ours.
func (h *Handle) Use() int32 { return must(h.value) }

// Take gives the handle away.
func (h *Handle) Take() int32 {
	value := must(h.value)
	h.value = 0
	return value
}

// TakeOrNil gives the handle away, or 0 if there is none.
func (h *Handle) TakeOrNil() int32 {
	value := h.value
	h.value = 0
	return value
}

// Set takes over a handle where there is none.
func (h *Handle) Set(value int32) {
	if h.value != 0 {
		panic("this handle is in use")
	}
	h.value = must(value)
}

func must(value int32) int32 {
	if value == 0 {
		panic("this handle was given away or closed")
	}
	return value
}

// Allocate returns memory that stays where it is until pinner lets go of it.
func Allocate(pinner *runtime.Pinner, size, _ uintptr) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	// Words of 8 bytes suit every alignment of the canonical ABI.
	memory := unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	pinner.Pin(memory)
	return memory
}

// What the host asks for before Go's runtime is up: the adapter's own needs.
var (
	early     [256 << 10]byte
	earlyUsed uintptr
	isRunning bool
	lent      runtime.Pinner
)

// Unpin is called first in every export: what the host has lent is Go's from here on.
func Unpin() {
	if !isRunning {
		// The adapter sets itself up now, out of the early memory.
		setClockPaused(0)
		isRunning = true
	}
	lent.Unpin()
}

//go:linkname procPin runtime.procPin
func procPin() int

//go:linkname procUnpin runtime.procUnpin
func procUnpin()

//go:wasmimport wasi_snapshot_preview1 adapter_monotonic_clock_set_paused
//go:noescape
func setClockPaused(paused int32)

//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	if old != nil || oldSize != 0 {
		panic("nothing that was lent grows")
	}
	if !isRunning {
		return fromEarly(size, align)
	}
	// The component may call nobody in here: no collection may begin (pinned to
	// its processor, Go begins none), and the clock must not be asked.
	setClockPaused(1)
	procPin()
	memory := Allocate(&lent, size, align)
	procUnpin()
	setClockPaused(0)
	return memory
}

func fromEarly(size, align uintptr) unsafe.Pointer {
	base := uintptr(unsafe.Pointer(&early))
	start := (base+earlyUsed+align-1)&^(align-1) - base
	if start+size > uintptr(len(early)) {
		panic("too much memory is needed before the start")
	}
	earlyUsed = start + size
	return unsafe.Pointer(&early[start])
}
