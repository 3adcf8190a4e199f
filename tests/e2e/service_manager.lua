-- Stands in for systemd: listens on a datagram socket, prints each message as one line (line ends as "; "), and may
-- hand a listening socket to a program that it starts.
--   luajit service_manager.lua notify PATH                 prints what is sent there
--   luajit service_manager.lua activate PORT PROGRAM…      becomes PROGRAM with a socket on 127.0.0.1:PORT as LISTEN_FDS=1
local ffi = require("ffi")
ffi.cdef [[
  int socket(int, int, int); int bind(int, const void *, unsigned); int listen(int, int);
  long recv(int, void *, size_t, int); int dup2(int, int); int getpid(void); int setenv(const char *, const char *, int);
  int execvp(const char *, const char *const *); char *strerror(int); int setsockopt(int, int, int, const void *, unsigned);
]]
local C = ffi.C
local AF_UNIX, AF_INET, STREAM, DGRAM = 1, 2, 1, 2

local function check(result)
  if result < 0 then error(ffi.string(C.strerror(ffi.errno()))) end
  return result
end

if arg[1] == "notify" then
  local fd = check(C.socket(AF_UNIX, DGRAM, 0))
  local address = ffi.new("char[110]")
  ffi.cast("uint16_t *", address)[0] = AF_UNIX
  ffi.copy(address + 2, arg[2])
  check(C.bind(fd, address, 2 + #arg[2] + 1))
  io.stdout:write("ready\n")
  io.stdout:flush()
  local buffer = ffi.new("char[4096]")
  while true do
    local n = check(C.recv(fd, buffer, 4096, 0))
    io.stdout:write((ffi.string(buffer, n):gsub("\n", "; ")), "\n")
    io.stdout:flush()
  end
end

local fd = check(C.socket(AF_INET, STREAM, 0))
check(C.setsockopt(fd, 1, 2, ffi.new("int[1]", 1), 4)) -- SO_REUSEADDR
local address = ffi.new("uint8_t[16]")
ffi.cast("uint16_t *", address)[0] = AF_INET
local port = tonumber(arg[2])
address[2], address[3] = math.floor(port / 256), port % 256
address[4], address[7] = 127, 1
check(C.bind(fd, address, 16))
check(C.listen(fd, 128))
check(C.dup2(fd, 3))
C.setenv("LISTEN_FDS", "1", 1)
C.setenv("LISTEN_PID", tostring(C.getpid()), 1)
local n = #arg - 2
local argv = ffi.new("const char *[?]", n + 1)
for i = 1, n do argv[i - 1] = arg[i + 2] end
argv[n] = nil
C.execvp(argv[0], argv)
error("cannot run " .. arg[3])
