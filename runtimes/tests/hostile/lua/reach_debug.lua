-- expect: thrown
return function()
  return debug.info(1, 'f')
end
