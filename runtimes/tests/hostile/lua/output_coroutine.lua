-- expect: bad-output
return function()
  return { coroutine.create(print) }
end
