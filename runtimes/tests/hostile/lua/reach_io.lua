-- expect: thrown
return function()
  return io.open('/etc/passwd'):read('a')
end
