-- The scripts of internal/queue/redisq/lua run inside Redis, each behind library.lua.
std = "lua51"
max_line_length = 120
read_globals = {"redis", "cmsgpack", "KEYS", "ARGV"}
local library = {
  "call", "find", "sub", "match", "arg", "P", "real", "now", "us", "int", "from", "bucket", "load", "save", "wake",
  "know", "lines", "set", "waiting", "ready", "schedule", "alive", "giveBack", "bind",
}
for _, script in ipairs({
  "bind", "bucket", "claim", "dead", "enqueue", "heartbeat", "leave", "look", "purge", "reconcile", "register",
  "remark", "runnow", "status", "sweep", "takeback", "workers",
}) do
  files["internal/queue/redisq/lua/" .. script .. ".lua"] = {read_globals = library}
end
files["internal/queue/redisq/lua/library.lua"] = {ignore = {"211", "231"}} -- what it defines is for the others
