/* Stands in for NVIDIA's driver library, as far as outlive.gpu calls it, and is stricter: what CUDA leaves undefined
 * ends the process. It has FAKE_GPUS GPUs, FAKE_READ_ONLY says whether they can lock read-only memory, and
 * FAKE_REFUSES=NAME:CODE has one function return an error. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GPUS 8
#define RANGES 256
typedef struct { char *begin; size_t size; unsigned flags; } Range;

static Range ranges[RANGES];
static int active[GPUS], waits[GPUS], count, ready;
static pid_t owner;
static char contexts[GPUS]; /* a context is the address of one of these */
static __thread void *stack[16];
static __thread int depth;

static int setting(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

static int refused(const char *name) {
    const char *wanted = getenv("FAKE_REFUSES");
    size_t length = strlen(name);
    return wanted && !strncmp(wanted, name, length) && wanted[length] == ':' ? atoi(wanted + length + 1) : 0;
}

#define BEGIN(name) if (refused(name)) return refused(name); if (!ready || owner != getpid()) return 3

/* The permissions of each page of a range, by the kernel's list: whether all have this letter, as 'r' or 'w'. */
static int all_have(char *begin, size_t size, char letter) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512], mode[8], *at = begin;
    unsigned long from, to;
    while (at < begin + size && fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && (char *)from <= at && at < (char *)to) {
            if (!strchr(mode, letter)) break;
            at = (char *)to;
        }
    fclose(maps);
    return at >= begin + size;
}

int cuInit(unsigned flags) {
    (void)flags;
    if (refused("cuInit")) return refused("cuInit");
    if (ready && owner != getpid()) return 3;
    count = setting("FAKE_GPUS", 1);
    if (!count) return 100;
    ready = 1;
    owner = getpid();
    return 0;
}

int cuGetErrorName(int code, const char **text) {
    *text = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 712 ? "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED"
          : code == 100 ? "CUDA_ERROR_NO_DEVICE" : NULL;
    return *text ? 0 : 1;
}

int cuGetErrorString(int code, const char **text) {
    *text = code == 2 ? "out of memory" : NULL;
    return *text ? 0 : 1;
}

int cuDeviceGetCount(int *found) { BEGIN("cuDeviceGetCount"); *found = count; return 0; }

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    BEGIN("cuDeviceGetAttribute");
    if (device < 0 || device >= count) return 101;
    if (attribute == 113) *value = setting("FAKE_READ_ONLY", 1);
    else if (attribute == 100) *value = setting("FAKE_USES_OUR_PAGES", 0);
    else return 1;
    return 0;
}

int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *is_active) {
    BEGIN("cuDevicePrimaryCtxGetState");
    *flags = 0;
    *is_active = active[device];
    return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
    BEGIN("cuDevicePrimaryCtxRetain");
    active[device] = 1;
    *context = &contexts[device];
    return 0;
}

int cuCtxGetCurrent(void **context) {
    BEGIN("cuCtxGetCurrent");
    *context = depth ? stack[depth - 1] : NULL;
    return 0;
}

int cuCtxGetDevice(int *device) {
    BEGIN("cuCtxGetDevice");
    if (!depth) return 201;
    *device = (int)((char *)stack[depth - 1] - contexts);
    return 0;
}

int cuCtxSetCurrent(void *context) {
    BEGIN("cuCtxSetCurrent");
    if (!context) depth -= depth > 0;
    else stack[depth ? depth - 1 : depth++] = context;
    return 0;
}

int cuCtxSynchronize(void) {
    BEGIN("cuCtxSynchronize");
    if (!depth) return 201;
    waits[(char *)stack[depth - 1] - contexts]++;
    return 0;
}

int cuMemHostRegister_v2(void *address, size_t size, unsigned flags) {
    BEGIN("cuMemHostRegister_v2");
    if (!depth) return 201;
    char *begin = address;
    if (!size || flags & ~0xFu) return 1;
    if (flags & 8 && !setting("FAKE_READ_ONLY", 1)) return 801;
    if (!all_have(begin, size, 'r')) return 1;
    if (!(flags & 8) && !setting("FAKE_USES_OUR_PAGES", 0)) {
        if (!all_have(begin, size, 'w')) return 1;
        for (char *at = begin; at < begin + size; at += 4096) *(volatile char *)at = *(volatile char *)at;
    }
    for (int i = 0; i < RANGES; i++)
        if (ranges[i].size && begin < ranges[i].begin + ranges[i].size && ranges[i].begin < begin + size) return 712;
    for (int i = 0; i < RANGES; i++)
        if (!ranges[i].size) {
            ranges[i] = (Range){begin, size, flags};
            return 0;
        }
    return 2;
}

int cuMemHostUnregister(void *address) {
    if (ready && owner != getpid()) abort(); /* a forked child has nothing to unregister */
    BEGIN("cuMemHostUnregister");
    if (!depth) return 201;
    for (int i = 0; i < RANGES; i++)
        if (ranges[i].size && ranges[i].begin == (char *)address) {
            if (!all_have(ranges[i].begin, ranges[i].size, 'r')) abort(); /* it was unmapped before */
            ranges[i].size = 0;
            return 0;
        }
    return 713;
}

/* For tests */
void fake_use(int device) { active[device] = 1; stack[0] = &contexts[device]; depth = 1; }
int fake_depth(void) { return depth; }
int fake_active(int device) { return active[device]; }
int fake_waits(int device) { return waits[device]; }
int fake_ranges(void) {
    int found = 0;
    for (int i = 0; i < RANGES; i++) found += ranges[i].size != 0;
    return found;
}
/* The flags with which an address is registered; -1 if it is not. */
int fake_flags(void *address) {
    for (int i = 0; i < RANGES; i++)
        if (ranges[i].size && ranges[i].begin <= (char *)address && (char *)address < ranges[i].begin + ranges[i].size)
            return (int)ranges[i].flags;
    return -1;
}
