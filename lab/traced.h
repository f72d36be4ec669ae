#include <sys/types.h>

/* The process of the node that was let run and has not been waited for since; 0: none, the node's kernel runs. */
extern pid_t running;
