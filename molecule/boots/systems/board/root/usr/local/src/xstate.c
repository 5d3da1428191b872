/* User-mode Linux 6.1 keeps 2696 bytes of a process's extended registers (HOST_FP_SIZE in arch/x86/um/user-offsets.c)
 * and puts them back by PTRACE_SETREGSET, which takes nothing but the whole state (xstateregs_set() in
 * arch/x86/kernel/fpu/regset.c). On a CPU with AMX that is 8 KiB more, the call fails, and the first process ends with
 * a panic. Linux 6.13 knows the real size; until Debian's has it, what is missing is added here: zeros, for registers
 * that the state itself says are unused, since no process has them without asking the kernel for AMX.
 *
 * Compiled by tcc, without headers; preloaded by the firmware.
 */
#define PTRACE_GETREGSET 0x4204L
#define PTRACE_SETREGSET 0x4205L
#define NT_X86_XSTATE 0x202UL
#define RTLD_NEXT ((void *)-1L)

struct iovec {
	void *base;
	unsigned long length;
};

void *dlsym(void *handle, const char *symbol);
void *memcpy(void *to, const void *from, unsigned long length);

static long (*real)(long request, long pid, unsigned long address, void *data);
static char state[65536];
static unsigned long size;

long ptrace(long request, long pid, unsigned long address, void *data)
{
	struct iovec whole = {state, sizeof(state)};
	struct iovec *given = data;

	if (!real)
		real = dlsym(RTLD_NEXT, "ptrace");
	/* Callers hand over an int each, whose upper half may hold anything. */
	request = (int)request;
	pid = (int)pid;
	if (request != PTRACE_SETREGSET || address != NT_X86_XSTATE)
		return real(request, pid, address, data);
	if (!size) {
		if (real(PTRACE_GETREGSET, pid, address, &whole))
			return -1;
		size = whole.length;
		for (unsigned long i = 0; i < sizeof(state); i++)
			state[i] = 0;
	}
	if (given->length >= size)
		return real(request, pid, address, data);
	memcpy(state, given->base, given->length);
	whole.length = size;
	return real(request, pid, address, &whole);
}
