// LD_PRELOAD=libcampaign_tls.so: a host with much thread-local memory. It is part of the stack of every
// thread.
static __thread volatile char big[500000];

__attribute__((constructor)) static void use(void) { big[0] = big[sizeof big - 1] = 1; }
