package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"
)

// headerLen is the length of the header of virtio that goes before each packet.
const headerLen = 10

// device is a TUN device. What is read from it and written to it is a header and a
// packet, which may be super where that is said.
type device struct {
	io.ReadWriteCloser
	name       string
	super, udp bool // super-packets of TCP, and of UDP
}

// tunPath is where the kernel makes devices.
const tunPath = "/dev/net/tun"

// openDevice makes a TUN device. The library that does so knows nothing of super-packets,
// and a device that is in use cannot be told of them. So it is made to persist, closed,
// and opened again as one that has them. Where the kernel does not let us it is a plain one.
func openDevice(name string) (*device, error) {
	made, err := newWater(name, true)
	if err != nil {
		return nil, err
	}
	name = made.Name()
	if err := made.Close(); err != nil {
		return nil, fmt.Errorf("close device %s: %w", name, err)
	}
	d, offloadErr := reopen(name)
	if offloadErr == nil {
		return d, nil
	}
	plain, err := newWater(name, false) // which does not persist any more
	if err != nil {
		return nil, errors.Join(err, offloadErr)
	}
	return &device{ReadWriteCloser: &bare{plain}, name: name}, nil
}

func newWater(name string, persist bool) (*water.Interface, error) {
	w, err := water.New(water.Config{
		DeviceType:             water.TUN,
		PlatformSpecificParams: water.PlatformSpecificParams{Name: name, Persist: persist},
	})
	if err != nil {
		if name == "" {
			name = "tun0"
		}
		return nil, fmt.Errorf("make interface %s with %s: %w", name, tunPath, err)
	}
	return w, nil
}

// ifReq is struct ifreq of the kernel, as far as TUN uses it.
type ifReq struct {
	name  [unix.IFNAMSIZ]byte
	flags uint16
	_     [22]byte
}

// reopen opens a device that persists, with headers before packets, and has it not
// persist any more.
func reopen(name string) (*device, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", tunPath, err)
	}
	udp, err := attach(fd, name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &device{os.NewFile(uintptr(fd), tunPath), name, true, udp}, nil
}

func attach(fd int, name string) (udp bool, err error) {
	const flags = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR
	r := ifReq{flags: flags}
	copy(r.name[:unix.IFNAMSIZ-1], name)
	if err := ioctlIfReq(fd, unix.TUNSETIFF, &r); err != nil {
		return false, fmt.Errorf("attach to device %s: %w", name, err)
	}
	var got ifReq
	if err := ioctlIfReq(fd, unix.TUNGETIFF, &got); err != nil {
		return false, fmt.Errorf("look at device %s: %w", name, err)
	}
	if got.flags&unix.IFF_VNET_HDR == 0 {
		return false, fmt.Errorf("device %s has no headers before packets", name)
	}
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	const uso = unix.TUN_F_USO4 | unix.TUN_F_USO6 // from Linux 6.2 on
	udp = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp|uso) == nil
	if !udp {
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp); err != nil {
			return false, fmt.Errorf("have device %s give super-packets: %w", name, err)
		}
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 0); err != nil {
		return false, fmt.Errorf("have device %s go with the process: %w", name, err)
	}
	return udp, nil
}

func ioctlIfReq(fd int, request uintptr, r *ifReq) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(r))); errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}

// bare gives packets of a plain device a header that says nothing.
type bare struct{ io.ReadWriteCloser }

// Read implements io.Reader.
func (d *bare) Read(b []byte) (int, error) {
	if len(b) < headerLen {
		return 0, io.ErrShortBuffer
	}
	clear(b[:headerLen])
	n, err := d.ReadWriteCloser.Read(b[headerLen:])
	if err != nil {
		return 0, err
	}
	return headerLen + n, nil
}

// Write implements io.Writer.
func (d *bare) Write(b []byte) (int, error) {
	if len(b) < headerLen {
		return 0, io.ErrShortWrite
	}
	n, err := d.ReadWriteCloser.Write(b[headerLen:])
	if err != nil {
		return 0, err
	}
	return headerLen + n, nil
}
